"""Goodput: of constructed journals it is what was worked out by hand, kind by kind."""

from __future__ import annotations

import pytest

from ckptkit.report.goodput import goodput_of
from ckptkit.run.events import (
    AttemptEnded,
    Exported,
    Failed,
    Finished,
    ForegroundSaves,
    Progressed,
    Requested,
    Restored,
    RunPreempted,
    SetAside,
    SignalReceived,
    Stalled,
    TakenOver,
    TrainingStarted,
)
from tests.report.journals import (
    LAUNCHER,
    goodput,
    journal,
    launch_over,
    launched,
    ledger,
    parts,
    saved,
    started,
)


def restored(step: int, attempt: int = 1, secs: float = 0.0) -> Restored:
    return Restored(checkpoint=f"ckpt-{step}-{attempt}", step=step, epoch=0, batch=step, secs=secs)


EVERY_KIND = journal(
    (
        LAUNCHER,
        [
            (1000, launched(1)),
            (1099, launch_over(1, of_attempt=1, reached=150)),
            (1110, launched(2)),
        ],
    ),
    (
        1,
        [
            (1010, started(process_started=1001.0)),
            (1014, TrainingStarted(step=0)),
            (1053, saved(60, snapshot_secs=0.5, write_secs=3, taken_at=1050.0)),
            (
                1074,
                Progressed(
                    step=120,
                    spent={
                        "preparing": 4,
                        "first_step": 10,
                        "training": 40,
                        "evaluating": 5,
                        "data": 3,
                        "saving": 2,
                    },
                ),
            ),
            (1085, saved(130, write_secs=5, taken_at=1080.0)),
        ],
    ),
    (
        2,
        [
            (1120, started(process_started=1111.0)),
            (1130, restored(130, secs=4)),
            (1132, TrainingStarted(step=130)),
            (1190, Finished(step=300, epoch=3)),
            (
                1200,
                AttemptEnded(
                    outcome="finished",
                    step=300,
                    spent={
                        "preparing": 2,
                        "drawing_again": 4,
                        "restoring": 4,
                        "first_step": 5,
                        "training": 50,
                        "saving": 5,
                        "exporting": 7,
                        "outside": 3,
                    },
                ),
            ),
        ],
    ),
)


def test_every_kind_at_once():
    # Attempt 1 was launched at 1000, opened the run at 1010, and its launcher saw it dead at 1099,
    # at step 150. It had said at 1074, after 64 s,
    # what they went into; the other 25 s were steps. Attempt 2 went on from the state of 1080: 19 s
    # of steps were in vain.
    assert parts(EVERY_KIND) == {
        "initialisation": 10 + 10,
        "training_preparation": 4 + 2,
        "program_startup": 10 + 5,
        "data_loading": 3 + 4,
        "checkpoint_save": 2 + 5,
        "checkpoint_restore": 4,
        "wasted_progress": 19,
        "infrastructure_recovery": 11,
        "other": 7 + 3,
        "productive": 40 + 5 + 6 + 50,
    }
    found = goodput(EVERY_KIND)
    assert (found.start, found.end, found.wall_secs, found.ratio) == (1000, 1200, 200, 101 / 200)
    first, second = ledger(EVERY_KIND).attempts
    assert (first.steps_done, first.steps_lost, first.steps_redone, first.saves) == (150, 20, 0, 2)
    assert (
        second.steps_done,
        second.steps_lost,
        second.steps_redone,
        second.resumed_from.step,
    ) == (170, 0, 20, 130)
    assert (first.outcome, first.cause, first.end) == ("dead", "was ended by SIGKILL", 1099)
    assert (second.outcome, second.cause, second.end) == (
        "finished",
        "finished at step 300",
        1200,
    )


def test_a_journal_of_before_there_were_reports():
    # Attempt 1: 10 s before its first step; the state of 140 was saved at step 40, for which
    # training stood still for 2 s; last heard of at 150.
    # Of its 38 s of steps 3/4 are before the moment of that state. Attempt 2: 5 of 10 s restored;
    # the last save took 1 + 9 s; 10 s after the end.
    events = journal(
        (
            1,
            [
                (100, started()),
                (110, TrainingStarted(step=0)),
                (150, saved(40, snapshot_secs=2, write_secs=10)),
            ],
        ),
        (
            2,
            [
                (200, started()),
                (208, restored(40, secs=5)),
                (210, TrainingStarted(step=40)),
                (290, saved(100, 2, snapshot_secs=1, write_secs=9, final=True)),
                (290, Finished(step=100, epoch=1)),
                (296, Exported(path="export/1", step=100, secs=5)),
                (300, AttemptEnded(outcome="finished", step=100)),
            ],
        ),
    )
    assert parts(events) == {
        "training_preparation": 15,
        "checkpoint_restore": 5,
        "checkpoint_save": 12,
        "wasted_progress": 9.5,
        "infrastructure_recovery": 50,
        "other": 10,
        "productive": 28.5 + 70,
    }


def test_a_program_that_trains_on_after_an_end():
    events = journal(
        (
            1,
            [
                (0, started()),
                (0, TrainingStarted(step=0)),
                (50, saved(50, final=True)),
                (50, Finished(step=50, epoch=1)),
                (60, TrainingStarted(step=50)),
                (100, saved(90, final=True)),
                (100, Finished(step=90, epoch=2)),
                (110, AttemptEnded(outcome="finished", step=90)),
            ],
        )
    )
    assert parts(events) == {"productive": 100, "other": 10}


def test_the_state_of_a_save_is_that_of_its_snapshot_and_not_of_its_commit():
    # The snapshot of 1050 waited for an earlier save, and was committed 40 s later, of which its
    # own writing took 10 s.
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (1090, saved(50, write_secs=10, taken_at=1050.0)),
                (1100, Progressed(step=100, spent={"training": 100})),
            ],
        ),
        (
            2,
            [
                (1100, started()),
                (1100, restored(50)),
                (1100, TrainingStarted(step=50)),
                (1200, saved(150, 2, taken_at=1200.0)),
                (1200, AttemptEnded(outcome="stopped", step=150)),
            ],
        ),
    )
    assert parts(events) == {"wasted_progress": 50, "productive": 50 + 100}


def test_saves_in_the_foreground_stop_training_while_they_are_written():
    events = journal(
        (
            1,
            [
                (0, started()),
                (10, TrainingStarted(step=0)),
                (11, ForegroundSaves(reason="memory")),
                (40, saved(10, snapshot_secs=1, write_secs=9)),
                (100, saved(30, write_secs=0)),
                (100, AttemptEnded(outcome="stopped", step=30)),
            ],
        )
    )
    assert parts(events) == {"training_preparation": 10, "checkpoint_save": 10, "productive": 80}


def test_the_saving_before_a_stop_is_no_training():
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1010, TrainingStarted(step=0)),
                (1091, SignalReceived(signal="SIGTERM", phase="training")),
                (1099, saved(50, write_secs=7)),
                (1100, RunPreempted(step=50, reason="SIGTERM", exit_code=75, secs=8)),
                (1102, AttemptEnded(outcome="preempted", step=50)),
            ],
        ),
        (
            2,
            [
                (1202, started()),
                (1204, restored(50, secs=1)),
                (1205, TrainingStarted(step=50)),
                (1255, saved(70, 2)),
                (1255, AttemptEnded(outcome="stopped", step=70)),
            ],
        ),
    )
    assert parts(events) == {
        "training_preparation": 10 + 2,
        "checkpoint_save": 8,
        "other": 2,
        "infrastructure_recovery": 100,
        "checkpoint_restore": 1,
        "productive": 82 + 50,
    }
    assert [attempt.steps_lost for attempt in ledger(events).attempts] == [0, 0]


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (
            [(1100, Finished(step=50, epoch=1)), (1100, AttemptEnded(outcome="finished", step=50))],
            "idle",
        ),
        ([(1100, AttemptEnded(outcome="stopped", step=50))], "idle"),
        (
            [
                (1090, Requested(id="a", action="stop", source="ckptkit stop (head, process 1)")),
                (1100, RunPreempted(step=50, reason="ckptkit stop", exit_code=75, secs=0)),
                (1100, AttemptEnded(outcome="preempted", step=50)),
            ],
            "idle",
        ),
        (
            [
                (1100, RunPreempted(step=50, reason="SIGINT", exit_code=75, secs=0)),
                (1100, AttemptEnded(outcome="preempted", step=50)),
            ],
            "idle",
        ),
        (
            [
                (1100, RunPreempted(step=50, reason="SIGTERM", exit_code=75, secs=0)),
                (1100, AttemptEnded(outcome="preempted", step=50)),
            ],
            "infrastructure_recovery",
        ),
        (
            [
                (1100, Failed(error="ValueError", message="no", step=50, restart=True)),
                (1100, AttemptEnded(outcome="failed", step=50)),
            ],
            "infrastructure_recovery",
        ),
    ],
    ids=["finished", "stopped", "asked for", "Ctrl-C", "preempted", "failed"],
)
def test_a_gap_is_recovery_only_where_the_end_was_nobodys_wish(end, kind):
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (1050, saved(50, taken_at=1100.0)),
                *end,
            ],
        ),
        (
            2,
            [
                (1400, started()),
                (1400, restored(50)),
                (1400, TrainingStarted(step=50)),
                (1500, Finished(step=100, epoch=2)),
                (1500, AttemptEnded(outcome="finished", step=100)),
            ],
        ),
    )
    assert parts(events) == {kind: 300, "productive": 200}


def test_a_hang_is_no_lost_step():
    # It got on until 1100, 300 s before its launcher said so; 30 s of steps after the save were in
    # vain.
    events = journal(
        (
            LAUNCHER,
            [
                (990, launched()),
                (1400, Stalled(secs=300, phase="training", step=90, ended=True)),
                (1410, launch_over(cause="hang", words="had not got on", of_attempt=1, reached=90)),
                (1420, launched(2)),
            ],
        ),
        (
            1,
            [
                (1000, started()),
                (1010, TrainingStarted(step=0)),
                (1070, saved(60, taken_at=1070.0)),
                (1070, Progressed(step=60, spent={"preparing": 10, "training": 60})),
            ],
        ),
        (
            2,
            [
                (1430, started()),
                (1430, restored(60)),
                (1430, TrainingStarted(step=60)),
                (1500, saved(130, 2)),
                (1500, AttemptEnded(outcome="stopped", step=130)),
            ],
        ),
    )
    assert parts(events) == {
        "initialisation": 10 + 10,
        "training_preparation": 10,
        "wasted_progress": 30,
        "other": 310,
        "infrastructure_recovery": 10,
        "productive": 60 + 70,
    }
    assert ledger(events).attempts[0].steps_lost == 30


def test_what_two_attempts_did_at_once_counts_once():
    # Attempt 1 was cut off, and went on until 1150 without knowing that attempt 2 had taken the run
    # at 1100, from the state of 1060.
    events = journal(
        (
            1,
            [
                (1000, started("node1")),
                (1000, TrainingStarted(step=0)),
                (1060, saved(60, taken_at=1060.0)),
                (1150, Failed(error="RunLockedError", message="", step=150, restart=False)),
                (1150, AttemptEnded(outcome="failed", step=150)),
            ],
        ),
        (
            2,
            [
                (1100, started()),
                (1100, TakenOver(owner="node1")),
                (1100, restored(60)),
                (1100, TrainingStarted(step=60)),
                (1200, saved(160, 2)),
                (1200, AttemptEnded(outcome="stopped", step=160)),
            ],
        ),
    )
    assert parts(events) == {"wasted_progress": 40, "productive": 60 + 100}
    assert [attempt.steps_lost for attempt in ledger(events).attempts] == [90, 0]


def test_a_clock_that_goes_back_makes_no_time():
    # Attempt 2 was on a machine whose clock was 200 s late: of its 250 s the first 200 are in the
    # time of attempt 1 already.
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (1100, saved(100)),
                (1100, AttemptEnded(outcome="stopped", step=100)),
            ],
        ),
        (
            2,
            [
                (900, started()),
                (900, restored(100)),
                (900, TrainingStarted(step=100)),
                (1150, saved(350, 2)),
                (1150, AttemptEnded(outcome="stopped", step=350)),
            ],
        ),
    )
    found = goodput(events)
    assert (found.wall_secs, found.productive_secs) == (150, 150)


def test_time_that_the_training_did_not_live_through_is_something_else():
    # The machine slept: an hour went by on the wall, of which the process has seen 100 s.
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (4600, saved(100)),
                (4600, AttemptEnded(outcome="stopped", step=100, spent={"training": 100})),
            ],
        )
    )
    assert parts(events) == {"productive": 100, "other": 3500}


def test_an_earlier_life_does_not_count():
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (1100, saved(100)),
                (1100, AttemptEnded(outcome="stopped", step=100)),
            ],
        ),
        (
            2,
            [
                (5000, started()),
                (5001, SetAside(label="again", moved_to="aside/checkpoints")),
                (5010, TrainingStarted(step=0)),
                (5110, saved(100, 2)),
                (5110, AttemptEnded(outcome="stopped", step=100)),
            ],
        ),
    )
    assert parts(events) == {"training_preparation": 10, "productive": 100}
    assert [
        (attempt.life, attempt.steps_lost, attempt.steps_redone)
        for attempt in ledger(events).attempts
    ] == [(1, 0, 0), (2, 0, 0)]


def test_of_a_run_that_is_training_the_end_is_now():
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (1010, saved(10, taken_at=1010.0)),
            ],
        )
    )
    assert parts(events, now=1100, runs=True) == {"productive": 100}
    assert ledger(events, now=1100, runs=True).attempts[0].steps_lost == 0
    dead = parts(events, now=1100, runs=False)
    assert dead == {"productive": 10}  # the last sign of life is all that is known


def test_a_dead_run_has_lost_what_its_next_start_would_do_again():
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (1010, saved(10, taken_at=1010.0)),
                (1060, Progressed(step=60, spent={"training": 60})),
            ],
        )
    )
    assert parts(events) == {"productive": 10, "wasted_progress": 50}
    assert ledger(events).attempts[0].steps_lost == 50
    assert ledger(events, runs=True).attempts[0].steps_lost == 0


def test_a_finished_run_that_is_started_again_has_trained_nothing():
    events = journal(
        (
            1,
            [
                (1000, started()),
                (1000, TrainingStarted(step=0)),
                (1100, saved(100, final=True)),
                (1100, Finished(step=100, epoch=1)),
                (1100, AttemptEnded(outcome="finished", step=100)),
            ],
        ),
        (
            2,
            [
                (1200, started()),
                (1205, restored(100, secs=2)),
                (1210, AttemptEnded(outcome="finished", step=100)),
            ],
        ),
    )
    assert parts(events) == {
        "productive": 100,
        "idle": 100,
        "checkpoint_restore": 2,
        "training_preparation": 8,
    }
    first, second = ledger(events).attempts
    assert (first.steps_lost, second.steps_done, second.cause) == (
        0,
        0,
        "the run had finished at step 100: nothing was trained",
    )


def test_of_a_run_that_nobody_trained_there_is_none():
    assert goodput_of(ledger([])) is None
    assert goodput_of(ledger(journal((LAUNCHER, [(1, launched())])))) is None
