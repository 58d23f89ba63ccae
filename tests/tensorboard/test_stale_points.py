"""Which attempts' points count, and until when: from a journal alone."""

from __future__ import annotations

import math
from typing import Any

from ckptkit.layout import CheckpointName
from ckptkit.run import events
from ckptkit.tensorboard.stale_points import (
    RestorePoint,
    Span,
    newest_repairing_attempt,
    owner_at,
    writer_attempts,
)

ALL, NOTHING = math.inf, -math.inf


def began(
    attempt: int, time: float, *, checkpoint: str = "", trained: bool = True, label: str = ""
) -> list[events.Event]:
    """An attempt that goes on from a checkpoint, or begins."""
    journal: list[Any] = [
        events.AttemptStarted(
            attempt=attempt, time=time, host="machine", pid=100 + attempt, program="train.py"
        )
    ]
    if label:
        journal.append(
            events.SetAside(attempt=attempt, time=time + 1, label=label, moved_to="aside")
        )
    if checkpoint:
        journal.append(
            events.Restored(
                attempt=attempt,
                time=time + 2,
                checkpoint=checkpoint,
                step=0,
                epoch=0,
                batch=0,
                secs=0.1,
            )
        )
    if trained:
        journal.append(events.TrainingStarted(attempt=attempt, time=time + 3, step=0))
    return journal


def saved(
    attempt: int, step: int, taken_at: float, *, without_time: bool = False, final: bool = False
) -> events.Event:
    return events.Saved(
        attempt=attempt,
        time=taken_at + 5,
        checkpoint=f"ckpt-{step}-{attempt}",
        step=step,
        epoch=0,
        batch=step,
        trigger="test",
        size_bytes=1,
        snapshot_secs=1.0,
        write_secs=3.0,
        taken_at=taken_at if not without_time else None,
        final=final,
    )


def until(
    journal: list[events.Event], checkpoint: str, taken_at: float, *, final: bool = False
) -> dict[int, float]:
    name = CheckpointName.parse(checkpoint)
    assert name is not None
    return {
        writer.attempt: writer.until
        for writer in writer_attempts(journal, RestorePoint(name, taken_at, final))
    }


def test_the_attempt_that_saved_counts_until_its_snapshot():
    journal = [*began(1, 100), saved(1, 500, 200.0), *began(2, 300, trained=False)]
    assert until(journal, "ckpt-500-1", 200.0) == {1: 200.0, 2: ALL}


def test_an_attempt_that_saved_nothing_counts_for_nothing():
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-500-1", 200.0) == {1: 200.0, 2: NOTHING, 3: ALL}


def test_each_attempt_of_the_line_counts_until_the_next_went_on():
    """The checkpoint from which the second went on is gone from the disk by now."""
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        saved(1, 600, 250.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-700-2", 350.0) == {1: 200.0, 2: 350.0, 3: ALL}


def test_going_back_behind_an_attempt():
    journal = [
        *began(1, 100),
        saved(1, 300, 150.0),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-300-1", 150.0) == {1: 150.0, 2: NOTHING, 3: ALL}


def test_journals_of_before_did_not_tell_of_the_snapshot():
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0, without_time=True),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400),
    ]
    assert until(journal, "ckpt-700-2", 350.0)[1] == 205.0 - 3.0 - 1.0


def test_a_start_that_trained_nothing_has_no_orphans():
    """As one of a finished run, whose program goes on to evaluate."""
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1", trained=False),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-500-1", 200.0, final=True) == {1: ALL, 2: ALL, 3: ALL}


def test_points_after_the_end_of_a_training_stay_if_more_steps_follow():
    """What was measured at the end was not measured again by the second, which the third goes on
    from.
    """
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0, final=True),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-700-2", 350.0) == {1: ALL, 2: 350.0, 3: ALL}


def test_an_attempt_that_trained_on_after_an_end_counts_until_then():
    """One loop after the other in one process; it was killed in the second."""
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0, final=True),
        events.TrainingStarted(attempt=1, time=210.0, step=500),
        *began(2, 300, checkpoint="ckpt-500-1"),
    ]
    assert until(journal, "ckpt-500-1", 200.0, final=True) == {1: 210.0, 2: ALL}
    journal += [saved(2, 700, 350.0), *began(3, 400, trained=False)]
    assert until(journal, "ckpt-700-2", 350.0) == {1: 210.0, 2: 350.0, 3: ALL}


def test_before_the_first_save():
    journal = [*began(1, 100), *began(2, 300, trained=False)]
    assert {writer.attempt: writer.until for writer in writer_attempts(journal, None)} == {
        1: NOTHING,
        2: ALL,
    }


def test_earlier_lives_are_not_touched():
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, label="again"),
        saved(2, 40, 320.0),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-40-2", 320.0) == {1: ALL, 2: 320.0, 3: ALL}


def test_missing_lines_cost_nothing():
    """An attempt that seems to have begun at step 0, though another had saved: nobody knows what
    led to it.
    """
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300),
        saved(2, 700, 350.0),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-700-2", 350.0) == {1: ALL, 2: 350.0, 3: ALL}


def test_a_clock_that_went_back_in_an_attempt():
    """It is the order of the lines that says what led to what."""
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 900, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400, trained=False),
    ]
    assert until(journal, "ckpt-700-2", 350.0) == {1: 200.0, 2: 350.0, 3: ALL}


def test_owner():
    name = CheckpointName(500, 1)

    def owners(journal: list[events.Event], *times: float) -> list[int | None]:
        among = writer_attempts(journal, RestorePoint(name, 200.0))
        return [
            writer.attempt if (writer := owner_at(among, time)) is not None else None
            for time in times
        ]

    journal = [*began(1, 100), saved(1, 500, 200.0), *began(2, 300)]
    assert owners(journal, 99.9, 100.0, 299.9, 300.0, 9e9) == [None, 1, 1, 2, 2]
    journal = [
        *began(1, 100),
        events.AttemptEnded(attempt=1, time=200.0, outcome="failed", step=3),
        *began(2, 300),
    ]
    assert owners(journal, 50.0, 200.0, 201.0, 300.0) == [None, 1, None, 2], (
        "between them the process did something else"
    )


def test_when_a_killed_attempt_had_ended():
    """Three minutes after its last line, or where the next one began by the same clock."""

    def ends(*journal: events.Event) -> list[float]:
        return [writer.ended for writer in writer_attempts(journal, None)]

    one = [
        *began(1, 100),
        events.Progressed(attempt=1, time=1000.0, step=7),
        events.Progressed(attempt=1, time=990.0, step=8),
    ]
    assert ends(*one) == [ALL]
    assert ends(*one, *began(2, 9000)) == [1180.0, ALL]
    assert ends(*one, *began(2, 1100)) == [1100.0, ALL]
    assert ends(*one, *began(2, 50)) == [1180.0, ALL], "the clock was set back"
    elsewhere = events.AttemptStarted(
        attempt=2, time=1100.0, host="another", pid=102, program="train.py"
    )
    assert ends(*one, elsewhere) == [1180.0, ALL], "it has another clock"
    assert ends(*one, elsewhere, *began(3, 1150)) == [1150.0, 1280.0, ALL]
    assert ends(
        *one, events.AttemptEnded(attempt=1, time=1001.0, outcome="failed", step=9), *began(2, 1001)
    ) == [1001.0, ALL]


def back(attempt: int, time: float, checkpoint: str) -> events.Event:
    return events.Restored(
        attempt=attempt, time=time, checkpoint=checkpoint, step=0, epoch=0, batch=0, secs=0.1
    )


def gone(
    journal: list[events.Event], checkpoint: str, taken_at: float
) -> dict[int, tuple[Span, ...]]:
    name = CheckpointName.parse(checkpoint)
    assert name is not None
    return {
        writer.attempt: writer.gone
        for writer in writer_attempts(journal, RestorePoint(name, taken_at))
        if writer.gone
    }


def test_going_back_to_an_earlier_attempt():
    """It restored, trained, and restored the same once more."""
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        back(2, 400, "ckpt-500-1"),
        saved(2, 700, 450.0),
        *began(3, 500, trained=False),
    ]
    assert until(journal, "ckpt-700-2", 450.0) == {1: 200.0, 2: 450.0, 3: ALL}
    assert gone(journal, "ckpt-700-2", 450.0) == {2: ((303.0, 400),)}


def test_going_back_to_a_checkpoint_of_its_own():
    """What led to it did not begin with it: the first attempt counts as before."""
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 550, 350.0),
        saved(2, 600, 380.0),
        back(2, 400, "ckpt-550-2"),
        saved(2, 700, 450.0),
        *began(3, 500, trained=False),
    ]
    assert until(journal, "ckpt-700-2", 450.0) == {1: 200.0, 2: 450.0, 3: ALL}
    assert gone(journal, "ckpt-700-2", 450.0) == {2: ((350.0, 400),)}
    assert until(journal, "ckpt-600-2", 380.0) == {1: 200.0, 2: 380.0, 3: ALL}
    assert gone(journal, "ckpt-600-2", 380.0) == {}


def test_usual_restores_are_no_going_back():
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400, checkpoint="ckpt-700-2"),
        saved(3, 900, 450.0),
        *began(4, 500, trained=False),
    ]
    assert gone(journal, "ckpt-900-3", 450.0) == {}


def test_a_journal_that_goes_round():
    """Lines are missing, so that a checkpoint seems to come from itself."""
    journal = [*began(1, 100), back(1, 150, "ckpt-700-1"), *began(2, 300, trained=False)]
    assert until(journal, "ckpt-700-1", 120.0) == {1: 120.0, 2: ALL}


def test_settled():
    """Only by an attempt of the same line, in the same directory, that left nothing undone."""

    def repaired(attempt: int, **more: Any) -> events.Event:
        return events.LogsRepaired(
            **{
                "attempt": attempt,
                "time": 1.0,
                "directory": "logs",
                "step": 0,
                "files": 1,
                "points": 3,
                **more,
            }
        )

    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400, checkpoint="ckpt-700-2"),
        *began(4, 500, trained=False),
    ]

    def by(*repairs: events.Event, checkpoint: str = "ckpt-700-2") -> int:
        name = CheckpointName.parse(checkpoint)
        assert name is not None
        return newest_repairing_attempt([*journal, *repairs], "logs", RestorePoint(name, 350.0))

    assert by() == 0
    assert by(repaired(2)) == 2
    assert by(repaired(2), repaired(3)) == 2, "the third led nowhere"
    assert by(repaired(2), checkpoint="ckpt-500-1") == 0
    assert by(repaired(2, directory="others")) == 0
    assert by(repaired(2, left=["a file"])) == 0


def test_settled_by_one_that_went_on_from_an_end():
    """It has left no mark, so nobody knows which steps those before it have."""
    journal = [
        *began(1, 100),
        saved(1, 600, 200.0, final=True),
        *began(2, 300, checkpoint="ckpt-600-1"),
        saved(2, 800, 350.0),
        events.LogsRepaired(attempt=2, time=303.0, directory="logs", step=600, files=0, points=0),
        *began(3, 400, trained=False),
    ]
    assert (
        newest_repairing_attempt(journal, "logs", RestorePoint(CheckpointName(800, 2), 350.0)) == 0
    )


def test_settled_by_one_that_trained_nothing():
    """It was killed before its first step, and its checkpoint could not be used by the next, which
    goes on from an earlier one.
    """
    journal = [
        *began(1, 100),
        saved(1, 500, 200.0),
        *began(2, 300, checkpoint="ckpt-500-1"),
        saved(2, 700, 350.0),
        *began(3, 400, checkpoint="ckpt-700-2", trained=False),
        events.LogsRepaired(attempt=3, time=410.0, directory="logs", step=700, files=0, points=0),
        *began(4, 500, trained=False),
    ]
    restored = RestorePoint(CheckpointName(500, 1), 200.0)
    assert newest_repairing_attempt(journal, "logs", restored) == 0
    assert {writer.attempt: writer.until for writer in writer_attempts(journal, restored)} == {
        1: 200.0,
        2: NOTHING,
        3: ALL,
        4: ALL,
    }
