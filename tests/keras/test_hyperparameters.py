"""Changed hyperparameters are reported; values that a callback or schedule moved are no change."""

from __future__ import annotations

import re

import pytest

import ckptkit
from ckptkit.restore.hyperparameter_comparison import settle
from tests.keras.conftest import journal_events
from tests.support.spread import spread


def changes(trainings):
    """Return by name: the first start, the second start, and a pattern for the message."""
    adam, decay, huber = (
        trainings.keras.optimizers.Adam,
        trainings.keras.optimizers.schedules.ExponentialDecay,
        trainings.keras.losses.Huber,
    )

    def with_rate(*arguments, **options):
        return lambda: {"made": trainings.model(adam(*arguments, **options))}

    def with_loss(loss):
        return lambda: {"made": trainings.model(loss=loss)}

    return {
        "learning_rate": (with_rate(0.01), with_rate(0.02), "0.01", "0.02"),
        "learning_rate of a schedule": (
            with_rate(decay(0.1, 10, 0.5)),
            with_rate(decay(0.1, 20, 0.5)),
            '"decay_steps": 10',
            '"decay_steps": 20',
        ),
        "learning_rate, a schedule for a number": (
            with_rate(0.01),
            with_rate(decay(0.1, 10, 0.5)),
            "0.01",
            "ExponentialDecay",
        ),
        "weight_decay": (
            with_rate(0.01, weight_decay=0.1),
            with_rate(0.01, weight_decay=0.2),
            "0.1",
            "0.2",
        ),
        "batch_size": (lambda: {"batch": 8}, lambda: {"batch": 16}, "8", "16"),
        "loss": (with_loss("mse"), with_loss("mae"), '"mse"', '"mae"'),
        "loss, as an object": (
            with_loss(huber(1.0)),
            with_loss(huber(2.0)),
            '"delta": 1.0',
            '"delta": 2.0',
        ),
        "depth": (
            lambda: {"hparams": {"depth": 2, "note": "a"}},
            lambda: {"hparams": {"depth": 3, "note": "a"}},
            "2",
            "3",
        ),
    }


@pytest.mark.parametrize(
    "name",
    spread(
        [
            "learning_rate",
            "weight_decay",
            "batch_size",
            "learning_rate of a schedule",
            "loss, as an object",
            "learning_rate, a schedule for a number",
            "depth",
            "loss",
        ]
    ),
)
def test_a_change_is_an_error_that_says_name_then_and_now(trainings, run, name):
    first, second, then, now = changes(trainings)[name]
    name = re.split(r",| of ", name)[0]
    trainings.interrupted(run, **first())
    options = second()
    made = options.setdefault("made", trainings.model())
    before = trainings.bits(made, made.optimizer)
    with pytest.raises(ckptkit.ConfigError) as caught:
        trainings.fit(run, **options)
    message = str(caught.value)
    (row,) = [line for line in message.splitlines() if line.startswith(f"  {name}: ")]
    said_then, said_now = row.split(", the code says ")
    assert then in said_then
    assert now in said_now
    assert f"changed={{'{name}': " in message
    assert trainings.bits(made, made.optimizer) == before, "nothing was trained or overwritten"
    failed = journal_events(run, "failed")[-1]
    assert (failed.error, failed.restart) == ("ConfigError", False)
    assert not journal_events(run, "restored")
    assert trainings.fit(run, **first()).epoch == [0, 1], "with the value put back, it goes on"


def test_what_may_change_freely(trainings, run, tmp_path):
    trainings.interrupted(
        run, keep=ckptkit.KeepLatest(2), preemption=ckptkit.Preemption(grace_secs=10)
    )
    moved = run.rename(tmp_path / "moved")
    history = trainings.fit(
        moved,
        epochs=3,
        save=ckptkit.EveryNEpochs(1),
        keep=ckptkit.KeepLatest(5),
        export=tmp_path / "export",
        preemption=ckptkit.Preemption(grace_secs=20),
        hparams={"new": 1},
    )
    assert history.epoch == [0, 1, 2]


@pytest.mark.parametrize(("decision", "expected"), [("code", 0.02), ("checkpoint", 0.01)])
def test_a_decision_counts(trainings, run, decision, expected):
    trainings.interrupted(run, trainings.model(trainings.keras.optimizers.Adam(0.01)))
    rates = []
    made = trainings.model(trainings.keras.optimizers.Adam(0.02))
    watch = trainings.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(trainings.rate(made))
    )
    trainings.interrupted(run, made, watch, changed={"learning_rate": decision})
    assert rates == pytest.approx([expected] * 3)
    (change,) = journal_events(run, "hyperparameter_changed")
    assert (change.name, change.then, change.now, change.settled) == (
        "learning_rate",
        "0.01",
        "0.02",
        decision,
    )

    # The decision is kept by the run: it may stay in the script, and where the code counts, it may
    # go.
    again = trainings.model(trainings.keras.optimizers.Adam(0.02))
    trainings.fit(
        run, again, **({} if decision == "code" else {"changed": {"learning_rate": decision}})
    )
    assert trainings.rate(again) == pytest.approx(expected)


def test_the_code_counts_from_then_on(trainings, run):
    """A run whose rate is changed so ends like one that changes it by hand at that step."""
    adam = trainings.keras.optimizers.Adam
    by_hand = trainings.model(adam(0.01))
    trainings.fit(
        run.with_name("by-hand"),
        by_hand,
        trainings.after(2, lambda: setattr(by_hand.optimizer, "learning_rate", 0.02)),
    )
    trainings.interrupted(run, trainings.model(adam(0.01)), batches=3)
    assert journal_events(run, "saved")[-1].step == 2
    made = trainings.model(adam(0.02))
    trainings.fit(run, made, changed={"learning_rate": "code"})
    assert trainings.bits(made) == trainings.bits(by_hand)


def test_a_decision_that_cannot_be_carried_out(trainings, run):
    trainings.interrupted(run, trainings.model(loss="mse"))
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"loss cannot be taken from the checkpoint.*changed=\{'loss': 'code'\}",
    ):
        trainings.fit(run, trainings.model(loss="mae"), changed={"loss": "checkpoint"})
    history = trainings.fit(run, trainings.model(loss="mae"), changed={"loss": "code"})
    assert history.epoch == [0, 1]


def test_a_decision_about_nothing_is_no_error(trainings, run):
    trainings.interrupted(run, changed={"learning_rate": "code"})
    assert trainings.fit(run, changed={"learning_rate": "checkpoint", "depth": "code"}).epoch == [
        0,
        1,
    ]
    assert not journal_events(run, "hyperparameter_changed")


def test_a_rate_that_a_callback_has_moved_in_another_process(tf_call, run):
    options = {"run": str(run), "plateau": True, "learning_rate": 0.08, "epochs": 4}
    whole = (
        tf_call(
            "tests.keras.training_programs:train", {**options, "run": str(run.with_name("whole"))}
        )
        .check()
        .result
    )
    tf_call("tests.keras.training_programs:train", {**options, "die": 10}).check(code=-9)
    resumed = tf_call("tests.keras.training_programs:train", options).check().result
    assert resumed == {**whole, "batches": 16 - 9}
    assert whole["rate"] == pytest.approx(0.01)


def test_a_rate_that_a_callback_has_moved_in_this_process(trainings, run):
    def plateau():
        return trainings.keras.callbacks.ReduceLROnPlateau(
            monitor="loss", factor=0.5, patience=1, min_delta=1e9
        )

    whole = trainings.model(trainings.keras.optimizers.Adam(0.08))
    trainings.fit(run.with_name("whole"), whole, plateau(), epochs=4)
    made = trainings.interrupted(
        run, trainings.model(trainings.keras.optimizers.Adam(0.08)), plateau(), batches=10, epochs=3
    )
    assert trainings.rate(made) == pytest.approx(0.04)
    trainings.fit(run, made, plateau(), epochs=3)
    assert trainings.rate(made) == pytest.approx(0.02)
    trainings.fit(run, made, plateau(), epochs=4)
    assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)


def test_a_rate_that_the_user_sets_between_two_fits_is_a_change(trainings, run):
    made = trainings.interrupted(run, trainings.model(trainings.keras.optimizers.Adam(0.01)))
    made.optimizer.learning_rate = 0.3
    with pytest.raises(
        ckptkit.ConfigError, match=r"learning_rate: the run has 0\.01\d*, the code says 0\.3"
    ):
        trainings.fit(run, made)


def test_two_optimizers_of_a_loop_are_distinguished(trainings, run):
    def state(rate):
        weights = {"a": trainings.tf.Variable(1.0), "b": trainings.tf.Variable(1.0)}
        optimizers = {
            "g_opt": trainings.keras.optimizers.Adam(0.01),
            "d_opt": trainings.keras.optimizers.Adam(rate),
        }
        for optimizer, variable in zip(optimizers.values(), weights.values(), strict=True):
            optimizer.build([variable])
        return {**weights, **optimizers}

    with ckptkit.CheckpointManager(run, state(0.02), save=ckptkit.EveryNSteps(1)) as manager:
        for step in manager.steps(9):
            if step == 3:
                break
    with (
        pytest.raises(
            ckptkit.ConfigError,
            match=r"(?m)^  d_opt\.learning_rate: the run has 0\.02\d*, the code says 0\.03\d*$",
        ),
        ckptkit.CheckpointManager(run, state(0.03)),
    ):
        pass
    decided = state(0.03)
    with ckptkit.CheckpointManager(run, decided, changed={"d_opt.learning_rate": "checkpoint"}):
        assert float(decided["d_opt"].learning_rate) == pytest.approx(0.02)
        assert float(decided["g_opt"].learning_rate) == pytest.approx(0.01)


@pytest.mark.parametrize("same_process", [False, True])
def test_an_argument_of_the_checkpoint_is_in_effect(trainings, run, same_process):
    """A traced step has the arguments of its optimizer as constants, so it is traced again."""
    adam = trainings.keras.optimizers.Adam
    whole = trainings.model(adam(0.01, beta_1=0.5))
    trainings.fit(run.with_name("whole"), whole)
    made = trainings.interrupted(run, trainings.model(adam(0.01, beta_1=0.5)))
    if same_process:
        made.optimizer.beta_1 = 0.9
    else:
        made = trainings.model(adam(0.01, beta_1=0.9))
    trainings.fit(run, made, changed={"beta_1": "checkpoint"})
    assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)
    assert ckptkit.open_run(run).checkpoints[-1].manifest.hyperparameters["beta_1"] == 0.5


def test_an_argument_that_counted_for_nothing_is_put_back(trainings, run):
    trainings.interrupted(run, trainings.model(trainings.keras.optimizers.Adam(0.01, beta_1=0.5)))
    made = trainings.model(trainings.keras.optimizers.Adam(0.01, beta_1=0.9), width=5)
    with pytest.raises(ckptkit.IncompatibleStateError):
        trainings.fit(run, made, changed={"beta_1": "checkpoint"})
    assert made.optimizer.beta_1 == 0.9


def test_an_argument_is_put_back_if_the_position_cannot_be_reached(trainings, run):
    """The run was left after two batches, where no call of four batches ends."""
    adam = trainings.keras.optimizers.Adam
    trainings.interrupted(run, trainings.model(adam(0.01, beta_1=0.5)))
    made = trainings.model(adam(0.01, beta_1=0.9))
    made.compile(made.optimizer, "mse", steps_per_execution=4)
    with pytest.raises(ckptkit.ConfigError, match="steps_per_execution was 1 and is 4 now"):
        trainings.fit(run, made, changed={"beta_1": "checkpoint"})
    assert made.optimizer.beta_1 == 0.9


# -- the user's own


def test_user_hyperparameters_are_not_put_into_an_optimizer(trainings, run):
    """They have names of its arguments, but only the code knows what they mean."""
    sgd = trainings.keras.optimizers.SGD
    trainings.interrupted(run, trainings.model(sgd(0.4)), hparams={"learning_rate": 0.05})
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"(?m)^  hparams\.learning_rate: the run has 0\.05, the code says 0\.06$",
    ):
        trainings.fit(run, trainings.model(sgd(0.4)), hparams={"learning_rate": 0.06})
    with pytest.raises(
        ckptkit.ConfigError, match=r"hparams\.learning_rate cannot be taken from the checkpoint"
    ):
        trainings.fit(
            run,
            trainings.model(sgd(0.4)),
            hparams={"learning_rate": 0.06},
            changed={"hparams.learning_rate": "checkpoint"},
        )
    made = trainings.model(sgd(0.4))
    trainings.fit(
        run, made, hparams={"learning_rate": 0.06}, changed={"hparams.learning_rate": "code"}
    )
    assert trainings.rate(made) == pytest.approx(0.4)
    (change,) = journal_events(run, "hyperparameter_changed")
    assert (change.name, change.then, change.now, change.settled) == (
        "hparams.learning_rate",
        "0.05",
        "0.06",
        "code",
    )


def test_the_code_that_counts_for_an_argument_counts_for_a_user_value_of_that_name(trainings, run):
    sgd = trainings.keras.optimizers.SGD
    trainings.interrupted(run, trainings.model(sgd(0.4)), hparams={"learning_rate": 0.4})
    made = trainings.model(sgd(0.3))
    trainings.fit(run, made, hparams={"learning_rate": 0.3}, changed={"learning_rate": "code"})
    assert trainings.rate(made) == pytest.approx(0.3)
    assert {change.name for change in journal_events(run, "hyperparameter_changed")} == {
        "learning_rate",
        "hparams.learning_rate",
    }


def test_a_user_learning_rate_beside_a_schedule(trainings, run):
    def made():
        return trainings.model(
            trainings.keras.optimizers.SGD(
                trainings.keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
            )
        )

    trainings.interrupted(run, made(), hparams={"learning_rate": 0.1})
    history = trainings.fit(
        run, made(), hparams={"learning_rate": 0.2}, changed={"learning_rate": "code"}
    )
    assert history.epoch == [0, 1]


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (
            {"depth": 2, "width": 3},
            {"depth": 2},
            "the run has 3, the code says nothing of that name",
        ),
        (
            {"depth": 2},
            {"depth": 2, "width": 3},
            "the run has nothing of that name, the code says 3",
        ),
        ({"width": 3}, None, "the run has 3, the code says nothing of that name"),
    ],
)
def test_a_user_hyperparameter_that_only_one_side_has(trainings, run, then, now, said):
    trainings.interrupted(run, hparams=then)
    with pytest.raises(ckptkit.ConfigError, match=rf"(?m)^  width: {said}$"):
        trainings.fit(run, hparams=now)
    assert trainings.interrupted(run, hparams=now, changed={"width": "code"})
    assert [change.name for change in journal_events(run, "hyperparameter_changed")] == ["width"]
    assert trainings.fit(run, hparams=now).epoch == [0, 1], "it is recorded"


def test_user_hyperparameters_that_are_given_for_the_first_time(trainings, run):
    trainings.interrupted(run)
    with trainings.logged() as lines:
        trainings.interrupted(run, hparams={"depth": 2, "batch_size": 8})
    assert [
        line for line in lines if "They are recorded now, and later starts compare them" in line
    ]
    with pytest.raises(ckptkit.ConfigError, match=r"(?m)^  depth: the run has 2, the code says 3$"):
        trainings.fit(run, hparams={"depth": 3, "batch_size": 8})


def test_a_checkpoint_that_does_not_separate_user_hyperparameters():
    """An older version had one dictionary for all; the user's own replaced an argument."""
    then = {"learning_rate": 0.05, "momentum": 0.0, "depth": 2}
    now = {"learning_rate": 0.4, "momentum": 0.0}
    assert (
        settle(then, now, {"learning_rate": 0.05, "depth": 2, "new": 1}, {}, frozenset(now)) == []
    )
    assert settle(then, {"learning_rate": 0.05, "momentum": 0.0}, {}, {}, frozenset(now)) == []
    with pytest.raises(ckptkit.ConfigError, match=r"(?m)^  depth: the run has 2, the code says 3$"):
        settle(then, now, {"learning_rate": 0.05, "depth": 3}, {}, frozenset(now))
