"""Training that is stopped before its last epoch: a clock interrupts it, a judge ends it."""

from __future__ import annotations

import signal

import pytest

from tests.keras.conftest import journal_events
from tests.support.spread import spread

STOPPED, CLOCK, EARLY = (
    f"tests.keras.stop_programs:{each}" for each in ("stopped", "clock", "early")
)


@pytest.mark.parametrize(
    ("stop", "event", "kind"),
    spread(
        [
            (10, "batch", "rows"),
            (8, "epoch", "warm-up"),
            (10, "batch", "unknown length"),
            (11, "batch", "generator"),
            (12, "epoch", "averages"),
            (9, "batch", "warm-up"),
            (8, "batch", "unknown length"),
            (8, "epoch", "generator"),
            (10, "batch", "averages"),
            (8, "batch", "rows"),
            (10, "step", "rows"),
            (19, "batch", "rows"),
        ],
        3,
    ),
)
def test_a_stop_by_a_clock_is_continued(tf_call, tmp_path, seed, stop, event, kind):
    """The next start ends with what an uninterrupted training ends with."""
    process = tf_call(CLOCK, str(tmp_path), seed, stop, event, kind).check()
    whole, resumed, stopped = process.result
    assert stopped == [stop, False, []]
    assert resumed == whole
    assert ("the program" if event == "step" else "_Stops") in process.stderr
    assert "the next start continues there" in process.stderr
    (finished,) = journal_events(tmp_path / "run", "finished")
    assert finished.epoch == 5


def test_kills_around_a_stop_by_a_clock(tf_call, run, seed):
    whole = tf_call(STOPPED, str(run.with_name("whole")), seed, -1, "batch", "rows").check().result
    for stop, kill in ((10, 5), (10, 0), (-1, 14)):
        process = tf_call(STOPPED, str(run), seed, stop, "batch", "rows", kill)
        assert process.wait() == (-signal.SIGKILL if kill else 0), process.output()
    assert tf_call(STOPPED, str(run), seed, -1, "batch", "rows").check().result == whole


def test_early_stopping_is_the_end_of_training(tf_call, run, seed):
    """A start that asks for the same trains nothing; the message names who stopped, and when."""
    first = tf_call(EARLY, str(run), seed, 8, 2).check().result
    assert (first["epochs"], first["final"]) == (3, True)
    record = {"callback": "EarlyStopping", "epochs": 3, "monitor": "val_loss", "patience": 2}
    assert first["early_stop"] == record
    again = tf_call(EARLY, str(run), seed, 8, 2).check()
    assert again.result == first
    said = "EarlyStopping(monitor='val_loss', patience=2) stopped it early, with 3 of 8 epochs done"
    assert said in again.stderr
    assert "give EarlyStopping a larger patience" in again.stderr
    (finished,) = journal_events(run, "finished")
    assert (finished.epoch, finished.stopped_by) == (3, "EarlyStopping")


def test_a_larger_patience_continues_as_if_it_had_always_been_larger(tf_call, run, seed):
    whole = tf_call(EARLY, str(run.with_name("whole")), seed, 8, 4).check().result
    tf_call(EARLY, str(run), seed, 8, 2).check()
    assert tf_call(EARLY, str(run), seed, 8, 4).check().result == whole
    assert whole["epochs"] == 5


def test_more_epochs_begin_the_patience_anew(tf_call, run, seed):
    tf_call(EARLY, str(run), seed, 4, 2).check()
    longer = tf_call(EARLY, str(run), seed, 8, 2).check()
    assert longer.result["epochs"] == 5, "three, and the two of the patience"
    assert "had used up its patience of 2 epochs" in longer.stderr


@pytest.mark.parametrize(
    ("first", "then", "epochs"),
    [
        ("stopping", "none", 6),
        ("stopping", "another monitor", 6),
        ("derived", "derived", 3),
        ("own", "own", 2),
    ],
)
def test_who_has_stopped_decides_whether_the_end_holds(tf_call, run, seed, first, then, epochs):
    assert tf_call(EARLY, str(run), seed, 6, 2, first).check().result["final"]
    assert tf_call(EARLY, str(run), seed, 6, 2, then).check().result["epochs"] == epochs
