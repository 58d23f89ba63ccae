"""Callbacks that differ from those of the last attempt: each gets its own state, or a warning."""

from __future__ import annotations

import pytest

import ckptkit
from tests.keras.conftest import journal_events


def stopping(trainings, monitor, patience=9, **options):
    return trainings.keras.callbacks.EarlyStopping(monitor=monitor, patience=patience, **options)


def reasons(run):
    return [event.reason for event in journal_events(run, "inexact")]


def learned(callback):
    return callback.best, callback.wait, callback.best_epoch


def test_two_of_a_class_in_another_order(trainings, run):
    expected = [
        stopping(trainings, "loss", mode="max"),
        stopping(trainings, "val_loss", mode="max"),
    ]
    trainings.fit(run.with_name("whole"), None, *expected)
    trainings.interrupted(
        run,
        None,
        stopping(trainings, "loss", mode="max"),
        stopping(trainings, "val_loss", mode="max"),
        batches=6,
    )
    turned = [
        stopping(trainings, "val_loss", patience=7, mode="max"),
        stopping(trainings, "loss", mode="max"),
    ]
    trainings.fit(run, None, *turned, exact="require")
    assert [learned(callback) for callback in reversed(turned)] == [
        learned(callback) for callback in expected
    ]
    assert turned[0].patience == 7
    assert reasons(run) == []


def test_one_that_watches_something_else_now(trainings, run):
    trainings.interrupted(run, None, stopping(trainings, "loss"), batches=6)
    fresh = stopping(trainings, "val_loss")
    trainings.fit(run, None, fresh)
    assert fresh.best_epoch == 1, "it has seen the second epoch only"
    (reason,) = reasons(run)
    assert "EarlyStopping (monitor='loss', mode='auto')" in reason
    assert "now has monitor='val_loss', mode='auto'" in reason


def test_what_may_change_of_one(trainings, run, tmp_path):
    def checkpoint(name, **options):
        return trainings.keras.callbacks.ModelCheckpoint(
            tmp_path / name, monitor="loss", save_weights_only=True, **options
        )

    trainings.interrupted(run, None, checkpoint("a.weights.h5", save_best_only=True), batches=6)
    moved = checkpoint("b.weights.h5", save_best_only=True, verbose=0)
    trainings.interrupted(run, None, moved, batches=1, exact="require")
    assert moved.best is not None, "a path may change"


def test_one_that_is_gone(trainings, run):
    trainings.interrupted(
        run,
        None,
        stopping(trainings, "loss"),
        trainings.keras.callbacks.TerminateOnNaN(),
        batches=6,
    )
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"EarlyStopping \(monitor='loss', mode='auto'\) is not restored, "
        r"because it is not",
    ):
        trainings.fit(run, exact="require")
    with trainings.logged() as lines:
        trainings.fit(run)
    (reason,) = reasons(run)
    assert "is not among the callbacks now" in reason
    assert [line for line in lines if reason in line]


def gathers(trainings):
    class Gathers(trainings.keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.numbers, self.found, self.seen = (i for i in range(9)), [], 0

        def on_epoch_end(self, epoch, logs=None):
            self.last, self.seen = iter([epoch]), self.seen + next(self.numbers)
            self.found.append(self.seen)

    return Gathers()


def test_what_cannot_be_saved_of_user_callbacks_is_reported_once(trainings, run):
    with trainings.logged() as lines:
        trainings.fit(
            run,
            None,
            gathers(trainings),
            stopping(trainings, "loss"),
            trainings.keras.callbacks.CSVLogger(run.with_name("log.csv")),
            epochs=3,
        )
    assert reasons(run) == [
        'not saved: callback Gathers: attribute "numbers" (a generator)',
        'not saved: callback Gathers: attribute "last" (an iterator)',
    ]
    assert len([line for line in lines if "Gathers" in line]) == 2
    made = trainings.model()
    before = trainings.bits(made)
    with pytest.raises(ckptkit.ConfigError, match='Gathers: attribute "numbers"'):
        trainings.fit(run.with_name("other"), made, gathers(trainings), exact="require")
    assert trainings.bits(made) == before, "it is named before the first step"


def test_a_subclass_of_keras_own_is_the_users_only_beyond_that(trainings, run):
    class Logger(trainings.keras.callbacks.CSVLogger):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            self.mine = iter([epoch])

    trainings.fit(run, None, Logger(run.with_name("log.csv")))
    assert reasons(run) == ['not saved: callback Logger: attribute "mine" (an iterator)']


def test_states_of_an_older_version_are_matched_by_order(trainings):
    from ckptkit.keras.callback_state import CallbackStates
    from ckptkit.tracking.attribute_state import AttributeState

    now = [stopping(trainings, "loss"), stopping(trainings, "val_loss")]
    assert (
        CallbackStates(now).set(
            AttributeState(print, tuple),
            {"EarlyStopping#0": {"wait": 3}, "EarlyStopping#1": {"wait": 4}},
            {},
        )
        == []
    )
    assert [callback.wait for callback in now] == [3, 4]


@pytest.mark.parametrize("second", ["another", "the same", "a manager"])
def test_two_of_ours_are_one_clear_error(trainings, run, second):
    """Before anything is trained or written; each would hide the other one."""
    made = trainings.model()
    before = trainings.bits(made)
    other = run if second == "the same" else run.with_name("other")
    given = ckptkit.CheckpointManager(other, {"model": made}) if second == "a manager" else other
    callbacks = [ckptkit.CheckpointCallback(run), ckptkit.CheckpointCallback(given)]
    with pytest.raises(
        ckptkit.ConfigError, match=r"Expected one .*Received: 2, for .*run"
    ) as error:
        made.fit(trainings.data(), verbose=0, callbacks=callbacks)
    assert str(other) in str(error.value)
    assert trainings.bits(made) == before
    assert not run.exists()
    assert not other.exists()
    assert made.fit(trainings.data(), verbose=0, callbacks=[callbacks[0]] * 2).epoch == [0]
