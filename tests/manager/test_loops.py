"""Loops of the user's own where they are used otherwise than in the examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ckptkit
from ckptkit.cli.run_state import run_state
from tests.keras.conftest import journal_events


def new_manager(trainings, run, **options):
    """A manager of a small model, and a function that trains it for one step."""
    model = trainings.keras.Sequential(
        [trainings.keras.Input((4,)), trainings.keras.layers.Dense(1)]
    )
    optimizer = trainings.keras.optimizers.SGD(0.1)
    x, y = trainings.rows()

    def train():
        with trainings.tf.GradientTape() as tape:
            loss = trainings.tf.reduce_mean((model(x) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return ckptkit.CheckpointManager(
        run, {"model": model, "optimizer": optimizer}, **{"background": False, **options}
    ), train


# -- fit and a manager


def test_fit_inside_with_is_an_error_before_anything_is_trained(trainings, run):
    made = trainings.model()
    before = trainings.bits(made)
    manager = ckptkit.CheckpointManager(run, {"model": made})
    with pytest.raises(ckptkit.ConfigError, match=r"Call fit outside of `with manager:`"), manager:
        trainings.fit(ckptkit.CheckpointCallback(manager, export=False), made)
    assert trainings.bits(made) == before
    assert not manager.is_open
    assert ckptkit.open_run(run).checkpoints == []
    assert trainings.fit(ckptkit.CheckpointCallback(manager, export=False), made).epoch == [0, 1], (
        "outside of it, it works"
    )
    assert trainings.fit(
        ckptkit.CheckpointCallback(manager, export=False), made, epochs=3
    ).epoch == [
        0,
        1,
        2,
    ]


def test_a_state_with_another_object_as_model(trainings, run):
    made, teacher = trainings.model(), trainings.model(seed=8)
    with pytest.raises(
        ckptkit.ConfigError, match=r"another object under that name.*Name that one otherwise"
    ):
        trainings.fit(
            ckptkit.CheckpointCallback(
                ckptkit.CheckpointManager(run, {"model": teacher}), export=False
            ),
            made,
        )
    assert not run.exists()
    for state in ({"teacher": teacher}, {"model": made, "teacher": teacher}):
        where = run.with_name(f"run-{len(state)}")
        trainings.fit(
            ckptkit.CheckpointCallback(ckptkit.CheckpointManager(where, state), export=False), made
        )
        assert {"model", "teacher", "fit"} <= {
            entry.name for entry in ckptkit.open_run(where).find("latest").manifest.states
        }


# -- what is left to do


def test_a_fold_loop_over_one_directory(trainings, run):
    for fold in range(2):
        manager, train = new_manager(trainings, run)
        if fold == 0:
            with manager:
                for _ in manager.steps(3):
                    train()
            continue
        with pytest.raises(
            ckptkit.ConfigError,
            match=r"already finished the run .* with other objects.*its own directory.*fresh=",
        ):
            manager.restore_or_initialize()
        assert not manager.is_open
        assert journal_events(run, "failed")[0].restart is False
        assert manager.restore().step == 3, "to look at it is no new training"
        manager.close()
        again, train = new_manager(trainings, run, fresh="second fold")
        with again:
            assert [step for step in again.steps(3) if train() is not None] == [1, 2, 3]


@pytest.mark.parametrize("loop", ["steps", "epochs"])
def test_a_finished_loop_says_what_leads_on(trainings, run, loop):
    manager, _ = new_manager(trainings, run)
    for total, left in ((2, [0, 1]), (2, []), (3, [2])):
        trainings.start_again()
        with trainings.logged() as lines, manager:
            done = list(getattr(manager, loop)(total))
        assert done == [number + (loop == "steps") for number in left]
        said = [line for line in lines if "this run has finished" in line]
        assert len(said) == (not left)
        assert (
            all(
                word in said[0]
                for word in (f"2 {loop} are done", "larger total", "fresh=", "another directory")
            )
            if said
            else True
        )


@pytest.mark.parametrize("loop", ["steps", "epochs"])
@pytest.mark.parametrize("how", ["same manager", "new manager", "one with"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_further_loop_that_trains_nothing_is_an_error(trainings, run, loop, how, restarted):
    """`for epoch in range(3): with manager: for step in manager.steps(4)` would train one epoch."""
    state, done = {"v": trainings.tf.Variable(1.0)}, 0
    managers = [ckptkit.CheckpointManager(run, state, background=False) for _ in range(2)]
    if restarted:
        with managers[0]:
            assert len(list(getattr(managers[0], loop)(4))) == 4
        trainings.start_again()

    def train(manager):
        nonlocal done
        done += len(list(getattr(manager, loop)(4)))

    wrong = pytest.raises(
        ckptkit.ConfigError,
        match=rf"just finished the run .*4 {loop} are done.*{loop}\(4\) would train nothing.*"
        r"larger total.*fresh=",
    )
    first, second = managers if how == "new manager" else managers[:1] * 2
    if how == "one with":
        with wrong, first:
            train(first)
            train(first)
    else:
        with first:
            train(first)
        with wrong, second:
            train(second)
    assert done == (0 if restarted else 4)
    with second:
        assert len(list(getattr(second, loop)(6))) == 2, "a larger total trains on"


def test_a_further_loop_leaves_the_run_finished(trainings, run):
    with new_manager(trainings, run)[0] as manager:
        list(manager.steps(2))
    trainings.start_again()
    with pytest.raises(ckptkit.ConfigError), new_manager(trainings, run)[0] as manager:
        list(manager.steps(2))
        list(manager.steps(2))
    assert run_state(ckptkit.open_run(run).journal, 0.0).name == "finished"


def test_data_inside_of_data_is_an_error(trainings, run):
    manager, _ = new_manager(trainings, run)
    with (
        pytest.raises(
            ckptkit.ConfigError,
            match=r"so the steps of the run would be counted twice.*zip\(manager.data\(a\), "
            r"manager.data\(b\)\)",
        ),
        manager,
    ):
        assert [None for _ in manager.data(range(3)) for _ in manager.data(range(2))]
    assert manager.all_steps == []


def test_an_iterator_of_an_epoch_that_is_over_is_an_error(trainings, run):
    manager, _ = new_manager(trainings, run)

    def train():
        with manager:
            batches = None
            for _ in manager.epochs(2):
                batches = batches or manager.data(range(5))
                assert next(batches) >= 0

    with pytest.raises(ckptkit.ConfigError, match="that epoch is over"):
        train()


# -- epochs over data of the user's own


def test_epochs_without_data_count_steps_and_have_their_own_metrics(trainings, run):
    manager, train = new_manager(
        trainings,
        run,
        save=ckptkit.EveryNEpochs(1),
        keep=ckptkit.KeepLatest(3) | ckptkit.KeepBest("only_once", mode="min"),
    )
    with manager:
        for epoch in manager.epochs(6):
            train()
            manager.log(loss=float(epoch))
            if epoch == 1:
                manager.log(only_once=1.0)
    found = ckptkit.open_run(run).checkpoints
    assert [(c.step, c.manifest.epoch, c.metrics) for c in found] == [
        (2, 2, {"loss": 1.0, "only_once": 1.0}),
        (4, 4, {"loss": 3.0}),
        (5, 5, {"loss": 4.0}),
        (6, 6, {"loss": 5.0}),
    ]


def test_a_monitor_that_the_first_epoch_does_not_report(trainings, run):
    manager, train = new_manager(trainings, run, save=ckptkit.OnBest("los", mode="min"))

    def epochs():
        with manager:
            for _ in manager.epochs(3):
                train()
                manager.log(loss=1.0, nested={"accuracy": 0.5}, text="abc")

    with pytest.raises(ckptkit.ConfigError, match=r"'los'.*Expected one of: accuracy, loss\."):
        epochs()
    (saved,) = ckptkit.open_run(run).checkpoints
    assert (saved.step, saved.metrics) == (1, {"loss": 1.0, "accuracy": 0.5})


def test_epochs_that_count_their_own_steps_count_no_more(trainings, run):
    manager, _ = new_manager(
        trainings, run, save=ckptkit.EveryNEpochs(1), keep=ckptkit.KeepLatest(9)
    )
    with manager:
        for _ in manager.epochs(2):
            for _ in range(5):
                manager.maybe_save(manager.position.step + 1)
    assert [(c.step, c.manifest.epoch) for c in ckptkit.open_run(run).checkpoints] == [
        (5, 1),
        (10, 2),
    ]


def test_a_safe_point_in_an_epoch_without_data_counts_the_epoch(trainings, run):
    manager, train = new_manager(trainings, run)

    def epochs(asks):
        with manager:
            for epoch in manager.epochs(4):
                train()
                if epoch == asks:
                    manager.request_stop()
                manager.safe_point()
                yield epoch

    with pytest.raises(ckptkit.Preempted):
        list(epochs(2))
    assert (manager.latest_step, ckptkit.open_run(run).find("latest").manifest.epoch) == (3, 3)
    assert list(epochs(9)) == [3]


def test_metrics_of_a_turn_end_with_it(trainings, run):
    manager, _ = new_manager(
        trainings, run, save=ckptkit.EveryNSteps(1), keep=ckptkit.KeepLatest(9)
    )
    with manager:
        for step in manager.steps(3):
            if step == 1:
                manager.log(first=1.0)
            manager.log(loss=1.0 / step)
    assert [sorted(c.metrics) for c in ckptkit.open_run(run).checkpoints] == [
        ["first", "loss"],
        ["loss"],
        ["loss"],
    ]
    assert math.isclose(ckptkit.open_run(run).find("best").metrics["loss"], 1 / 3)


# -- loops that count otherwise than they seem to


def test_steps_inside_of_epochs_are_an_error(trainings, run):
    """From the second epoch on they would train nothing."""
    manager, train = new_manager(trainings, run)
    trained = []
    with (
        pytest.raises(
            ckptkit.ConfigError, match=r"the steps of the whole run.*manager.data\(dataset\)"
        ),
        manager,
    ):
        for _ in manager.epochs(3):
            for step in manager.steps(4):
                trained.append(step)
                train()
    assert trained == []
    assert manager.all_steps == []


@pytest.mark.parametrize("batches", [1, 4])
def test_epochs_over_a_plain_dataset_are_said_to_be_steps(trainings, run, batches):
    manager, train = new_manager(trainings, run, save=ckptkit.EveryNSteps(500))
    with trainings.logged() as lines, manager:
        for _ in manager.epochs(3):
            for _ in range(batches):
                train()
    assert manager.latest_step == 3
    said = [line for line in lines if f"an optimizer made {batches} updates" in line]
    assert len(said) == (batches > 1)
    assert all("manager.data(dataset)" in line for line in said)


def test_epochs_over_data_of_the_manager_say_nothing(trainings, run):
    manager, train = new_manager(trainings, run)
    with trainings.logged() as lines, manager:
        for _ in manager.epochs(2):
            for _ in manager.data(range(3)):
                train()
    assert manager.latest_step == 6
    assert not any("updates" in line for line in lines)


# -- numbers as programs have them


def test_steps_are_whole_numbers_of_any_kind(trainings, run):
    manager, _ = new_manager(trainings, run, keep=ckptkit.KeepLatest(99))
    numbers = [
        trainings.np.int64(1),
        trainings.tf.Variable(2, dtype=trainings.tf.int64),
        trainings.tf.constant(3),
        trainings.keras.Variable(4, dtype="int32", trainable=False),
        trainings.np.array(5),
    ]
    with manager:
        for number in numbers:
            assert manager.save(number)
        assert manager.maybe_save(trainings.np.uint8(6)) is False
        for wrong in (
            trainings.tf.constant(7.0),
            trainings.np.float32(7),
            trainings.tf.constant([7]),
            True,
            "7",
        ):
            with pytest.raises(ckptkit.ConfigError, match="a whole number of 0 or more"):
                manager.save(wrong)
        assert list(manager.steps(trainings.tf.Variable(8))) == [7, 8]
    assert manager.all_steps == [1, 2, 3, 4, 5, 8]
    assert ckptkit.open_run(run).find(trainings.tf.constant(3)).step == 3
    assert manager.restore(step=trainings.np.int64(5)).step == 5
    manager.close()
    with manager:
        assert list(manager.epochs(trainings.np.int32(1))) == [0]


def test_hparams_may_be_scalars_of_numpy_and_paths(trainings, run, tmp_path):
    given = {
        "width": trainings.np.int64(64),
        "rate": trainings.np.float64(0.5),
        "on": trainings.np.bool_(True),
        "sizes": [trainings.np.int32(1), (trainings.np.int32(2),)],
        "data": tmp_path / "data",
        "inner": {"weights": trainings.np.array([0.25, 0.75])},
        "steps": trainings.tf.constant(3),
    }
    plain = {
        "width": 64,
        "rate": 0.5,
        "on": True,
        "sizes": [1, [2]],
        "data": str(tmp_path / "data"),
        "inner": {"weights": [0.25, 0.75]},
        "steps": 3,
    }
    for hparams in (given, plain):
        manager, _ = new_manager(trainings, run, hparams=hparams)
        with manager:
            manager.save(1)
    recorded = ckptkit.open_run(run).find("latest").manifest.hyperparameters["hparams"]
    assert recorded == plain


# -- random operations that cannot be resumed


@pytest.mark.parametrize("traced", ["eagerly", "in the turn", "before"])
def test_a_loop_that_draws_inside_of_tensorflow(trainings, run, traced):
    tf = trainings.tf

    def noise():
        return tf.random.normal((3,), seed=5 if traced == "eagerly" else None)

    draw = noise if traced == "eagerly" else tf.function(noise)
    if traced == "before":
        draw()
    manager, _ = new_manager(trainings, run)
    with manager:
        for _ in manager.steps(3):
            draw()
    (event,) = journal_events(run, "inexact")
    assert "the loop draws from RandomStandardNormal" in event.reason
    manager, _ = new_manager(trainings, run.with_name("new"), exact="require")
    with pytest.raises(ckptkit.ConfigError, match="draws from RandomStandardNormal"), manager:
        for _ in manager.data(range(3)):
            draw()
    assert manager.all_steps == []


def test_a_loop_with_keras_random_numbers_is_exact(trainings, run):
    seeds, dropout = trainings.keras.random.SeedGenerator(3), trainings.keras.layers.Dropout(0.5)
    manager, train = new_manager(trainings, run, exact="require", save=ckptkit.EveryNSteps(9))
    with manager:
        for _ in manager.steps(2):
            dropout(trainings.keras.random.normal((3,), seed=seeds), training=True)
            trainings.tf.random.stateless_uniform((3,), seed=(1, 2))
            train()
    assert manager.all_steps == [2]


def test_a_loop_that_fails_is_watched_no_longer(trainings, run):
    """Its generator lives on in the traceback, and would slow down all eager operations."""
    from tensorflow.python.eager import context

    manager, _ = new_manager(trainings, run)
    with pytest.raises(ZeroDivisionError) as error, manager:
        for step in manager.steps(2):
            assert context.context().op_callbacks
            assert step / 0
    assert error.value.__traceback__ is not None
    assert not context.context().op_callbacks


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_misspelled_monitor_ends_a_loop_in_its_first_turn(trainings, run, by_hand):
    """It was named at the end only, after a training that had saved nothing."""
    manager, train = new_manager(trainings, run, save=ckptkit.OnBest("los", mode="min"))
    done = 0
    with (
        pytest.raises(ckptkit.ConfigError, match=r"'los', which the loop did not report.*loss"),
        manager,
    ):
        if by_hand:
            for step in range(1, 300):
                done = step
                manager.maybe_save(step, metrics={"loss": train()})
        else:
            for done in manager.steps(300):  # noqa: B007
                manager.log(loss=train())
    assert done <= 2
    assert ckptkit.open_run(run).find("latest").step == 1, "what was trained is saved"


def test_a_missing_monitor_of_a_loop_is_named_while_it_trains(trainings, run):
    manager, _ = new_manager(
        trainings,
        run,
        save=ckptkit.EveryNSteps(500) | ckptkit.OnBest("bleu", mode="max"),
        keep=ckptkit.KeepBest("los", mode="min"),
    )
    told = []
    with trainings.logged() as lines, manager:
        for step in manager.steps(200):
            told += [step] * len(
                [each for each in lines if "was not reported" in each][len(told) :]
            )
            manager.log(loss=1.0)
    assert len(told) == 2
    assert told[0] <= 3, "the misspelled one"
    assert told[1] < 150


@pytest.mark.parametrize(
    "metrics", [[1, 2], "loss=3", 3.0, {"a": 1}.items(), np.zeros(3), True], ids=repr
)
def test_metrics_without_names_are_told_once_and_end_nothing(trainings, run, metrics):
    manager, train = new_manager(trainings, run, save=ckptkit.EveryNSteps(1))
    with trainings.logged() as lines, manager:
        for step in range(1, 5):
            train()
            (manager.save if step % 2 else manager.maybe_save)(step, metrics=metrics)
        train()
        manager.save(5, metrics={"loss": 0.5})
    said = [line for line in lines if "numbers by name" in line]
    assert len(said) == 1
    assert type(metrics).__name__ in said[0]
    assert ckptkit.open_run(run).find("latest").metrics == {"loss": 0.5}
