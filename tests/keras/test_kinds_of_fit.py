"""Ways to write a training that are not the plain one: each goes on as it should, or says at its
beginning that it cannot.
"""

from __future__ import annotations

import json

import pytest

import ckptkit
from tests.keras.conftest import told
from tests.support.spread import spread


def manager_of_two(lab, run):
    """Two models of one class with different optimizers; the second one is trained."""
    teacher, student = lab.model("sgd"), lab.model("adam")
    teacher.layers[0].trainable = False
    return student, ckptkit.CheckpointManager(
        run, {"teacher": teacher, "student": student}, save=ckptkit.EveryNSteps(1)
    )


def test_two_models_of_one_class(lab, run):
    student, manager = manager_of_two(lab, run)
    lab.interrupted(ckptkit.CheckpointCallback(manager, export=False), student)
    student, manager = manager_of_two(lab, run)
    assert lab.fit(ckptkit.CheckpointCallback(manager, export=False), student).epoch == [0, 1]
    assert [event.step for event in told(run, "restored")] == [2]


def subclass(lab):
    class Mine(ckptkit.CheckpointCallback):
        def on_train_begin(self, logs=None):
            self._begin(logs)

        def _begin(self, logs):
            super().on_train_begin(logs)

        def set_params(self, params):
            super().set_params(params)

    return Mine


def test_a_subclass(lab, run, tmp_path):
    """Its methods stand between Keras and ours."""

    def train(directory, name, *callbacks):
        made = lab.model()
        stopping = lab.keras.callbacks.EarlyStopping(monitor="loss", patience=9)
        lab.fit(
            subclass(lab)(directory, save=ckptkit.EveryNSteps(1), export=False),
            made,
            stopping,
            lab.keras.callbacks.CSVLogger(tmp_path / name),
            *callbacks,
        )
        return made, stopping

    whole, expected = train(run.with_name("whole"), "whole.csv")
    with pytest.raises(lab.StopError):
        train(run, "log.csv", lab.after(6))
    made, stopping = train(run, "log.csv")
    assert lab.bits(made, made.optimizer) == lab.bits(whole, whole.optimizer)
    assert (stopping.best, stopping.wait) == (expected.best, expected.wait)
    assert (tmp_path / "log.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_a_callback_inside_of_another(lab, run):
    class Holds(lab.keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.held = ckptkit.CheckpointCallback(run)

        def on_train_begin(self, logs=None):
            self.held.set_model(self.model)
            self.held.on_train_begin(logs)

    with pytest.raises(
        ckptkit.ConfigError,
        match=r"Put it into the list of fit itself.*use ckptkit\.CheckpointManager",
    ):
        lab.model().fit(lab.data(), verbose=0, callbacks=[Holds()])


def test_a_loop_of_ones_own_with_a_list_of_callbacks(lab, run):
    callbacks = lab.keras.callbacks.CallbackList(
        [ckptkit.CheckpointCallback(run)], model=lab.model()
    )
    with pytest.raises(ckptkit.ConfigError, match=r"use ckptkit\.CheckpointManager"):
        callbacks.on_train_begin()


def test_a_list_of_callbacks_that_is_given(lab, run):
    made = lab.model()
    with pytest.raises(lab.StopError):
        made.fit(
            lab.data(),
            epochs=2,
            verbose=0,
            callbacks=lab.keras.callbacks.CallbackList(
                [
                    lab.after(3),
                    ckptkit.CheckpointCallback(run, save=ckptkit.EveryNSteps(1), export=False),
                ],
                model=made,
                add_history=True,
            ),
        )
    assert [event.step for event in told(run, "saved")] == [1, 2]


def own_evaluate(lab, way):
    class Own(lab.keras.Sequential):
        def evaluate(self, x=None, y=None, **options):
            if way == "other data":
                options.pop("_use_cached_eval_dataset")
                return super().evaluate(x, y, **options)
            few = super().evaluate(
                *(rows[:24] for rows in lab.rows()),
                batch_size=4,
                return_dict=True,
                callbacks=options["callbacks"],
            )
            return {**super().evaluate(x, y, **options), "few": few["loss"]}

    lab.keras.utils.set_random_seed(3)
    made = Own([lab.keras.Input((4,)), lab.keras.layers.Dense(1)])
    made.compile("adam", "mse")
    return made


@pytest.mark.parametrize("way", ["other data", "twice"])
def test_an_evaluation_of_ones_own(lab, run, way):
    """It goes over other data than the one that `fit` keeps for it, and looks into what it has
    brought.
    """
    whole, resumed = own_evaluate(lab, way), own_evaluate(lab, way)
    expected = lab.fit(run.with_name("whole"), whole, epochs=3)
    lab.interrupted(run, own_evaluate(lab, way), batches=10, epochs=3)
    history = lab.fit(run, resumed, epochs=3)
    assert [event.step for event in told(run, "restored")] == [9]
    assert history.history == expected.history
    assert lab.bits(resumed, resumed.optimizer) == lab.bits(whole, whole.optimizer)


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
def test_a_train_function_that_is_made_anew(lab, run, event):
    """As after a change of what is trained: saves, signals and the position go on."""

    def again():
        callback = lab.keras.callbacks.Callback()
        setattr(
            callback,
            event,
            lambda *arguments, **options: callback.model.make_train_function(force=True),
        )
        return callback

    whole = lab.model()
    lab.fit(run.with_name("whole"), whole)
    made = lab.interrupted(run, None, again(), batches=6)
    assert [each.step for each in told(run, "saved")] == [1, 2, 3, 4, 5]
    made = lab.model()
    history = lab.fit(run, made, again())
    assert history.epoch == [0, 1]
    assert [each.step for each in told(run, "finished")] == [8]
    assert lab.bits(made) == lab.bits(whole)
    assert getattr(made.train_function, "__self__", None) is None, "ours is gone"


def test_a_strategy_of_one_device(lab, run):
    def made():
        with lab.tf.distribute.OneDeviceStrategy("CPU:0").scope():
            return lab.model()

    whole, resumed = made(), made()
    lab.fit(run.with_name("whole"), whole)
    lab.interrupted(run, made(), batches=6)
    lab.fit(run, resumed)
    assert lab.bits(resumed, resumed.optimizer) == lab.bits(whole, whole.optimizer)


def test_a_strategy_of_several_devices(lab, run):
    with lab.tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        made = lab.model()
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"under MirroredStrategy, and training on several devices is not supported yet",
    ):
        lab.fit(run, made)
    assert not run.exists()


def test_several_workers(lab, run, monkeypatch):
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    for train in (
        lambda: lab.fit(run),
        ckptkit.CheckpointManager(run, {"weight": lab.tf.Variable(1.0)}).restore_or_initialize,
    ):
        with pytest.raises(
            ckptkit.ConfigError,
            match=r"TF_CONFIG names 2 processes that train together, which is not supported yet",
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
        assert lab.fit(run, lab.model(), epochs=1, fresh=harmless or "none").epoch == [0]


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
    """It is said where the user's line is, and not when training is over."""
    with pytest.raises(ckptkit.ConfigError, match=said):
        ckptkit.CheckpointCallback(run, export=export)
