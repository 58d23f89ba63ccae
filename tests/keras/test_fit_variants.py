"""Unusual ways to call `fit`: each works as it should, or is refused at its beginning."""

from __future__ import annotations

import json

import pytest

import ckptkit
from tests.keras.conftest import journal_events
from tests.support.spread import spread


def manager_of_two(trainings, run):
    """Return one of two models with different optimizers, and a manager of both."""
    teacher, student = trainings.model("sgd"), trainings.model("adam")
    teacher.layers[0].trainable = False
    return student, ckptkit.CheckpointManager(
        run, {"teacher": teacher, "student": student}, save=ckptkit.EveryNSteps(1)
    )


def test_two_models_of_one_class(trainings, run):
    student, manager = manager_of_two(trainings, run)
    trainings.interrupted(ckptkit.CheckpointCallback(manager, export=False), student)
    student, manager = manager_of_two(trainings, run)
    assert trainings.fit(ckptkit.CheckpointCallback(manager, export=False), student).epoch == [0, 1]
    assert [event.step for event in journal_events(run, "restored")] == [2]


def subclass(trainings):
    class Mine(ckptkit.CheckpointCallback):
        def on_train_begin(self, logs=None):
            self._begin(logs)

        def _begin(self, logs):
            super().on_train_begin(logs)

        def set_params(self, params):
            super().set_params(params)

    return Mine


def test_a_subclass(trainings, run, tmp_path):
    """Its methods are on the stack between Keras and ours."""

    def train(directory, name, *callbacks):
        made = trainings.model()
        stopping = trainings.keras.callbacks.EarlyStopping(monitor="loss", patience=9)
        trainings.fit(
            subclass(trainings)(directory, save=ckptkit.EveryNSteps(1), export=False),
            made,
            stopping,
            trainings.keras.callbacks.CSVLogger(tmp_path / name),
            *callbacks,
        )
        return made, stopping

    whole, expected = train(run.with_name("whole"), "whole.csv")
    with pytest.raises(trainings.StopError):
        train(run, "log.csv", trainings.after(6))
    made, stopping = train(run, "log.csv")
    assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)
    assert (stopping.best, stopping.wait) == (expected.best, expected.wait)
    assert (tmp_path / "log.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_a_callback_inside_of_another(trainings, run):
    class Holds(trainings.keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.held = ckptkit.CheckpointCallback(run)

        def on_train_begin(self, logs=None):
            self.held.set_model(self.model)
            self.held.on_train_begin(logs)

    with pytest.raises(
        ckptkit.ConfigError,
        match=r"Pass it to fit itself.*use ckptkit\.CheckpointManager",
    ):
        trainings.model().fit(trainings.data(), verbose=0, callbacks=[Holds()])


def test_a_custom_loop_with_a_list_of_callbacks(trainings, run):
    callbacks = trainings.keras.callbacks.CallbackList(
        [ckptkit.CheckpointCallback(run)], model=trainings.model()
    )
    with pytest.raises(ckptkit.ConfigError, match=r"use ckptkit\.CheckpointManager"):
        callbacks.on_train_begin()


def test_a_list_of_callbacks_that_is_given(trainings, run):
    made = trainings.model()
    with pytest.raises(trainings.StopError):
        made.fit(
            trainings.data(),
            epochs=2,
            verbose=0,
            callbacks=trainings.keras.callbacks.CallbackList(
                [
                    trainings.after(3),
                    ckptkit.CheckpointCallback(run, save=ckptkit.EveryNSteps(1), export=False),
                ],
                model=made,
                add_history=True,
            ),
        )
    assert [event.step for event in journal_events(run, "saved")] == [1, 2]


def own_evaluate(trainings, way):
    class Own(trainings.keras.Sequential):
        def evaluate(self, x=None, y=None, **options):
            if way == "other data":
                options.pop("_use_cached_eval_dataset")
                return super().evaluate(x, y, **options)
            few = super().evaluate(
                *(rows[:24] for rows in trainings.rows()),
                batch_size=4,
                return_dict=True,
                callbacks=options["callbacks"],
            )
            return {**super().evaluate(x, y, **options), "few": few["loss"]}

    trainings.keras.utils.set_random_seed(3)
    made = Own([trainings.keras.Input((4,)), trainings.keras.layers.Dense(1)])
    made.compile("adam", "mse")
    return made


@pytest.mark.parametrize("way", ["other data", "twice"])
def test_a_custom_evaluation(trainings, run, way):
    """It uses other data than Keras keeps for it, and reads its own logs."""
    whole, resumed = own_evaluate(trainings, way), own_evaluate(trainings, way)
    expected = trainings.fit(run.with_name("whole"), whole, epochs=3)
    trainings.interrupted(run, own_evaluate(trainings, way), batches=10, epochs=3)
    history = trainings.fit(run, resumed, epochs=3)
    assert [event.step for event in journal_events(run, "restored")] == [9]
    assert history.history == expected.history
    assert trainings.bits(resumed, resumed.optimizer) == trainings.bits(whole, whole.optimizer)


@pytest.mark.parametrize(
    "event",
    spread(
        [
            "on_train_begin",
            "on_epoch_begin",
            "on_train_batch_begin",
            "on_epoch_end",
            "on_train_batch_end",
        ]
    ),
)
def test_a_train_function_that_is_made_anew(trainings, run, event):
    """As after a change of what is trained: saves, signals and the position continue."""

    def again():
        callback = trainings.keras.callbacks.Callback()
        setattr(
            callback,
            event,
            lambda *arguments, **options: callback.model.make_train_function(force=True),
        )
        return callback

    whole = trainings.model()
    trainings.fit(run.with_name("whole"), whole)
    made = trainings.interrupted(run, None, again(), batches=6)
    assert [each.step for each in journal_events(run, "saved")] == [1, 2, 3, 4, 5]
    made = trainings.model()
    history = trainings.fit(run, made, again())
    assert history.epoch == [0, 1]
    assert [each.step for each in journal_events(run, "finished")] == [8]
    assert trainings.bits(made) == trainings.bits(whole)
    assert getattr(made.train_function, "__self__", None) is None, "ours is gone"


def test_a_strategy_of_one_device(trainings, run):
    def made():
        with trainings.tf.distribute.OneDeviceStrategy("CPU:0").scope():
            return trainings.model()

    whole, resumed = made(), made()
    trainings.fit(run.with_name("whole"), whole)
    trainings.interrupted(run, made(), batches=6)
    trainings.fit(run, resumed)
    assert trainings.bits(resumed, resumed.optimizer) == trainings.bits(whole, whole.optimizer)


def test_several_workers(trainings, run, monkeypatch):
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    for train in (
        lambda: trainings.fit(run),
        ckptkit.CheckpointManager(
            run, {"weight": trainings.tf.Variable(1.0)}
        ).restore_or_initialize,
    ):
        with pytest.raises(
            ckptkit.ConfigError,
            match=r"TF_CONFIG names 2 processes that train together, but nothing in the state was",
        ):
            train()
    assert not run.exists()
    for harmless in (
        "",
        "{}",
        "not JSON",
        "[]",
        json.dumps({"cluster": {"worker": ["a:1"], "evaluator": ["b:1"]}}),
    ):
        monkeypatch.setenv("TF_CONFIG", harmless)
        assert trainings.fit(run, trainings.model(), epochs=1, fresh=harmless or "none").epoch == [
            0
        ]


@pytest.mark.parametrize(
    ("export", "said"),
    [
        ("gs://bucket/export", "Received the URL 'gs://bucket/export'"),
        ("", "which is a path"),
        (3, "which is a path. Received: 3"),
        (None, "which is a path"),
        (b"export", "which is a path"),
        (__file__, "is a file"),
    ],
)
def test_where_a_model_cannot_be_published(run, export, said):
    """The error is raised at the user's line, and not when training is over."""
    with pytest.raises(ckptkit.ConfigError, match=said):
        ckptkit.CheckpointCallback(run, export=export)
