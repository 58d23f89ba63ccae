"""Changed hyperparameters are said, not guessed; what a callback or a schedule has moved is no
change.
"""

from __future__ import annotations

import re

import pytest

import ckptkit
from ckptkit.restore.hyperparameter_comparison import settle
from tests.keras.conftest import told
from tests.support.spread import spread


def changes(lab):
    """By name: the first start, the second start, and what the message says of both."""
    adam, decay, huber = (
        lab.keras.optimizers.Adam,
        lab.keras.optimizers.schedules.ExponentialDecay,
        lab.keras.losses.Huber,
    )

    def with_rate(*arguments, **options):
        return lambda: {"made": lab.model(adam(*arguments, **options))}

    def with_loss(loss):
        return lambda: {"made": lab.model(loss=loss)}

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
def test_a_change_is_an_error_that_says_name_then_and_now(lab, run, name):
    first, second, then, now = changes(lab)[name]
    name = re.split(r",| of ", name)[0]
    lab.interrupted(run, **first())
    options = second()
    made = options.setdefault("made", lab.model())
    before = lab.bits(made, made.optimizer)
    with pytest.raises(ckptkit.ConfigError) as caught:
        lab.fit(run, **options)
    message = str(caught.value)
    (row,) = [line for line in message.splitlines() if line.startswith(f"  {name}: ")]
    said_then, said_now = row.split(", the code says ")
    assert then in said_then
    assert now in said_now
    assert f"changed={{'{name}': " in message
    assert lab.bits(made, made.optimizer) == before, "nothing was trained or overwritten"
    failed = told(run, "failed")[-1]
    assert (failed.error, failed.restart) == ("ConfigError", False)
    assert not told(run, "restored")
    assert lab.fit(run, **first()).epoch == [0, 1], "with the value put back, it goes on"


def test_what_may_change_freely(lab, run, tmp_path):
    lab.interrupted(run, keep=ckptkit.KeepLatest(2), preemption=ckptkit.Preemption(grace_secs=10))
    moved = run.rename(tmp_path / "moved")
    history = lab.fit(
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
def test_a_decision_counts(lab, run, decision, expected):
    lab.interrupted(run, lab.model(lab.keras.optimizers.Adam(0.01)))
    rates = []
    made = lab.model(lab.keras.optimizers.Adam(0.02))
    watch = lab.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(lab.rate(made))
    )
    lab.interrupted(run, made, watch, changed={"learning_rate": decision})
    assert rates == pytest.approx([expected] * 3)
    (change,) = told(run, "hyperparameter_changed")
    assert (change.name, change.then, change.now, change.settled) == (
        "learning_rate",
        "0.01",
        "0.02",
        decision,
    )

    # The decision is kept by the run: it may stay in the script, and where the code counts, it may
    # go.
    again = lab.model(lab.keras.optimizers.Adam(0.02))
    lab.fit(run, again, **({} if decision == "code" else {"changed": {"learning_rate": decision}}))
    assert lab.rate(again) == pytest.approx(expected)


def test_the_code_counts_from_then_on(lab, run):
    """A run whose rate was changed half-way ends as one that was changed by hand at that step."""
    adam = lab.keras.optimizers.Adam
    by_hand = lab.model(adam(0.01))
    lab.fit(
        run.with_name("by-hand"),
        by_hand,
        lab.after(2, lambda: setattr(by_hand.optimizer, "learning_rate", 0.02)),
    )
    lab.interrupted(run, lab.model(adam(0.01)), batches=3)
    assert told(run, "saved")[-1].step == 2
    made = lab.model(adam(0.02))
    lab.fit(run, made, changed={"learning_rate": "code"})
    assert lab.bits(made) == lab.bits(by_hand)


def test_a_decision_that_cannot_be_carried_out(lab, run):
    lab.interrupted(run, lab.model(loss="mse"))
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"loss cannot be taken from the checkpoint.*changed=\{'loss': 'code'\}",
    ):
        lab.fit(run, lab.model(loss="mae"), changed={"loss": "checkpoint"})
    history = lab.fit(run, lab.model(loss="mae"), changed={"loss": "code"})
    assert history.epoch == [0, 1]


def test_a_decision_about_nothing_is_no_error(lab, run):
    lab.interrupted(run, changed={"learning_rate": "code"})
    assert lab.fit(run, changed={"learning_rate": "checkpoint", "depth": "code"}).epoch == [0, 1]
    assert not told(run, "hyperparameter_changed")


def test_a_rate_that_a_callback_has_moved_in_another_process(tf_call, run):
    options = {"run": str(run), "plateau": True, "learning_rate": 0.08, "epochs": 4}
    whole = (
        tf_call("tests.keras.programs:train", {**options, "run": str(run.with_name("whole"))})
        .check()
        .result
    )
    tf_call("tests.keras.programs:train", {**options, "die": 10}).check(code=-9)
    resumed = tf_call("tests.keras.programs:train", options).check().result
    assert resumed == {**whole, "batches": 16 - 9}
    assert whole["rate"] == pytest.approx(0.01)


def test_a_rate_that_a_callback_has_moved_in_this_process(lab, run):
    def plateau():
        return lab.keras.callbacks.ReduceLROnPlateau(
            monitor="loss", factor=0.5, patience=1, min_delta=1e9
        )

    whole = lab.model(lab.keras.optimizers.Adam(0.08))
    lab.fit(run.with_name("whole"), whole, plateau(), epochs=4)
    made = lab.interrupted(
        run, lab.model(lab.keras.optimizers.Adam(0.08)), plateau(), batches=10, epochs=3
    )
    assert lab.rate(made) == pytest.approx(0.04)
    lab.fit(run, made, plateau(), epochs=3)
    assert lab.rate(made) == pytest.approx(0.02)
    lab.fit(run, made, plateau(), epochs=4)
    assert lab.bits(made, made.optimizer) == lab.bits(whole, whole.optimizer)


def test_a_rate_that_the_user_sets_between_two_fits_is_a_change(lab, run):
    made = lab.interrupted(run, lab.model(lab.keras.optimizers.Adam(0.01)))
    made.optimizer.learning_rate = 0.3
    with pytest.raises(
        ckptkit.ConfigError, match=r"learning_rate: the run has 0\.01\d*, the code says 0\.3"
    ):
        lab.fit(run, made)


def test_two_optimizers_of_a_loop_are_told_apart(lab, run):
    def state(rate):
        weights = {"a": lab.tf.Variable(1.0), "b": lab.tf.Variable(1.0)}
        optimizers = {
            "g_opt": lab.keras.optimizers.Adam(0.01),
            "d_opt": lab.keras.optimizers.Adam(rate),
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
def test_an_argument_of_the_checkpoint_is_in_effect(lab, run, same_process):
    """A step has the arguments of its optimizer as constants, so it must be traced with the ones
    that count.
    """
    adam = lab.keras.optimizers.Adam
    whole = lab.model(adam(0.01, beta_1=0.5))
    lab.fit(run.with_name("whole"), whole)
    made = lab.interrupted(run, lab.model(adam(0.01, beta_1=0.5)))
    if same_process:
        made.optimizer.beta_1 = 0.9
    else:
        made = lab.model(adam(0.01, beta_1=0.9))
    lab.fit(run, made, changed={"beta_1": "checkpoint"})
    assert lab.bits(made, made.optimizer) == lab.bits(whole, whole.optimizer)
    assert ckptkit.open_run(run).checkpoints[-1].manifest.hyperparameters["beta_1"] == 0.5


def test_an_argument_that_counted_for_nothing_is_put_back(lab, run):
    lab.interrupted(run, lab.model(lab.keras.optimizers.Adam(0.01, beta_1=0.5)))
    made = lab.model(lab.keras.optimizers.Adam(0.01, beta_1=0.9), width=5)
    with pytest.raises(ckptkit.IncompatibleStateError):
        lab.fit(run, made, changed={"beta_1": "checkpoint"})
    assert made.optimizer.beta_1 == 0.9


# -- the user's own


def test_ones_own_hyperparameters_are_not_put_into_an_optimizer(lab, run):
    """Though they are called like its arguments: only the code knows what it does with them."""
    sgd = lab.keras.optimizers.SGD
    lab.interrupted(run, lab.model(sgd(0.4)), hparams={"learning_rate": 0.05})
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"(?m)^  hparams\.learning_rate: the run has 0\.05, the code says 0\.06$",
    ):
        lab.fit(run, lab.model(sgd(0.4)), hparams={"learning_rate": 0.06})
    with pytest.raises(
        ckptkit.ConfigError, match=r"hparams\.learning_rate cannot be taken from the checkpoint"
    ):
        lab.fit(
            run,
            lab.model(sgd(0.4)),
            hparams={"learning_rate": 0.06},
            changed={"hparams.learning_rate": "checkpoint"},
        )
    made = lab.model(sgd(0.4))
    lab.fit(run, made, hparams={"learning_rate": 0.06}, changed={"hparams.learning_rate": "code"})
    assert lab.rate(made) == pytest.approx(0.4)
    (change,) = told(run, "hyperparameter_changed")
    assert (change.name, change.then, change.now, change.settled) == (
        "hparams.learning_rate",
        "0.05",
        "0.06",
        "code",
    )


def test_the_code_that_counts_for_an_argument_counts_for_ones_own_of_the_same_name(lab, run):
    sgd = lab.keras.optimizers.SGD
    lab.interrupted(run, lab.model(sgd(0.4)), hparams={"learning_rate": 0.4})
    made = lab.model(sgd(0.3))
    lab.fit(run, made, hparams={"learning_rate": 0.3}, changed={"learning_rate": "code"})
    assert lab.rate(made) == pytest.approx(0.3)
    assert {change.name for change in told(run, "hyperparameter_changed")} == {
        "learning_rate",
        "hparams.learning_rate",
    }


def test_ones_own_learning_rate_beside_a_schedule(lab, run):
    def made():
        return lab.model(
            lab.keras.optimizers.SGD(lab.keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))
        )

    lab.interrupted(run, made(), hparams={"learning_rate": 0.1})
    history = lab.fit(
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
def test_one_of_ones_own_that_only_one_side_has(lab, run, then, now, said):
    lab.interrupted(run, hparams=then)
    with pytest.raises(ckptkit.ConfigError, match=rf"(?m)^  width: {said}$"):
        lab.fit(run, hparams=now)
    assert lab.interrupted(run, hparams=now, changed={"width": "code"})
    assert [change.name for change in told(run, "hyperparameter_changed")] == ["width"]
    assert lab.fit(run, hparams=now).epoch == [0, 1], "it is recorded"


def test_ones_own_that_are_given_for_the_first_time(lab, run):
    lab.interrupted(run)
    with lab.logged() as lines:
        lab.interrupted(run, hparams={"depth": 2, "batch_size": 8})
    assert [line for line in lines if "hparams are recorded and compared from here on" in line]
    with pytest.raises(ckptkit.ConfigError, match=r"(?m)^  depth: the run has 2, the code says 3$"):
        lab.fit(run, hparams={"depth": 3, "batch_size": 8})


def test_a_checkpoint_that_does_not_say_which_were_ones_own():
    """An older version put all into one dictionary; the user's own replaced an argument of the same
    name.
    """
    then = {"learning_rate": 0.05, "momentum": 0.0, "depth": 2}
    now = {"learning_rate": 0.4, "momentum": 0.0}
    assert (
        settle(then, now, {"learning_rate": 0.05, "depth": 2, "new": 1}, {}, frozenset(now)) == []
    )
    assert settle(then, {"learning_rate": 0.05, "momentum": 0.0}, {}, {}, frozenset(now)) == []
    with pytest.raises(ckptkit.ConfigError, match=r"(?m)^  depth: the run has 2, the code says 3$"):
        settle(then, now, {"learning_rate": 0.05, "depth": 3}, {}, frozenset(now))
