"""The ledger: how attempts ended, and which of their steps were lost, in the situations that a run
may come into.
"""

from __future__ import annotations

import pytest

from ckptkit.report.ledger_builder import ledger_of
from ckptkit.report.unsaved_steps import at_least, earlier_unsaved
from ckptkit.run.events import (
    AttemptEnded,
    CleanedUp,
    Failed,
    Finished,
    NoticeReceived,
    PassedOver,
    Progressed,
    Restored,
    RolledBack,
    RunPreempted,
    SaveDropped,
    SaveFailed,
    SetAside,
    SignalReceived,
    TakenOver,
    TrainingStarted,
)
from tests.report.journals import (
    LAUNCHER,
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


def steps(events, **more):
    """Of each attempt: where it went on, where it came to, and steps done, lost and done again."""
    return [
        (a.first_step, a.last_step, a.steps_done, a.steps_lost, a.steps_redone)
        for a in ledger(events, **more).attempts
    ]


# -- steps


def test_a_rollback_loses_what_is_newer():
    events = journal(
        (
            1,
            [
                (0, started()),
                (0, TrainingStarted(step=0)),
                (50, saved(50, taken_at=50.0)),
                (100, saved(100, taken_at=100.0)),
                (100, AttemptEnded(outcome="stopped", step=100)),
            ],
        ),
        (
            2,
            [
                (
                    200,
                    RolledBack(
                        checkpoint="ckpt-50-1",
                        step=50,
                        set_aside=["ckpt-100-1"],
                        moved_to="aside/rolled-back-000002",
                    ),
                )
            ],
        ),
    )
    assert steps(events) == [(0, 100, 100, 50, 0)]
    assert parts(events) == {"productive": 50, "wasted_progress": 50}
    events += journal(
        (
            3,
            [
                (300, started()),
                (300, restored(50)),
                (300, TrainingStarted(step=50)),
                (420, saved(170, 3, final=True)),
                (420, Finished(step=170, epoch=1)),
                (420, AttemptEnded(outcome="finished", step=170)),
            ],
        )
    )
    assert steps(events) == [(0, 100, 100, 50, 0), (50, 170, 120, 0, 50)]
    assert [attempt.number for attempt in ledger(events).attempts] == [1, 3]


def test_a_rollback_belongs_to_its_life():
    def life(number: int, *before):
        return (
            number,
            [
                (100 * number, started()),
                *before,
                (100 * number, TrainingStarted(step=0)),
                (100 * number + 90, saved(90, number, taken_at=100 * number + 90.0)),
                (100 * number + 90, AttemptEnded(outcome="stopped", step=90)),
            ],
        )

    def rolled_back(number: int, step: int, attempt: int):
        return (
            number,
            [
                (
                    100 * number,
                    RolledBack(
                        checkpoint=f"ckpt-{step}-{attempt}",
                        step=step,
                        set_aside=[],
                        moved_to="aside",
                    ),
                )
            ],
        )

    again = (0, SetAside(label="again", moved_to="aside"))
    later = journal(life(1), life(2, again), rolled_back(3, 30, 2))
    assert steps(later) == [(0, 90, 90, 0, 0), (0, 90, 90, 60, 0)], (
        "the one of the second life costs the first nothing"
    )
    earlier = journal(life(1), rolled_back(2, 50, 1), life(3, again))
    assert steps(earlier) == [(0, 90, 90, 40, 0), (0, 90, 90, 0, 0)]
    both = journal(
        life(1), rolled_back(2, 50, 1), life(3, again), rolled_back(4, 30, 3), rolled_back(5, 20, 3)
    )
    assert steps(both) == [(0, 90, 90, 40, 0), (0, 90, 90, 70, 0)]


def test_a_rollback_stays_one_where_an_attempt_has_looked_since():
    """Killed before its first step, or on another machine and of unknown end: the steps are gone
    all the same.
    """
    trained = (
        1,
        [
            (0, started()),
            (0, TrainingStarted(step=0)),
            (50, saved(50, taken_at=50.0)),
            (100, saved(100, taken_at=100.0)),
        ],
    )
    back = (
        2,
        [
            (
                200,
                RolledBack(
                    checkpoint="ckpt-50-1",
                    step=50,
                    set_aside=["ckpt-100-1"],
                    moved_to="aside/rolled-back-000002",
                ),
            )
        ],
    )
    assert steps(journal(trained, back, (3, [(300, started()), (301, restored(50))]))) == [
        (0, 100, 100, 50, 0),
        (50, 50, 0, 0, 0),
    ]
    elsewhere = (1, [(0, started("node8")), *trained[1][1:]])
    assert steps(journal(elsewhere)) == [(0, 100, 100, 0, 0)]
    assert steps(journal(elsewhere, back)) == [(0, 100, 100, 50, 0)]


def test_going_back_further_than_the_attempt_before_loses_steps_of_several():
    events = journal(
        (
            1,
            [
                (0, started()),
                (0, TrainingStarted(step=0)),
                (100, saved(100, taken_at=100.0)),
                (100, AttemptEnded(outcome="stopped", step=100)),
            ],
        ),
        (
            2,
            [
                (100, started()),
                (100, restored(100)),
                (100, TrainingStarted(step=100)),
                (150, saved(150, 2)),
                (160, Progressed(step=160)),
            ],
        ),
        (
            3,
            [
                (200, started()),
                (200, PassedOver(checkpoint="ckpt-150-2", reason="damaged", moved_to="")),
                (200, PassedOver(checkpoint="ckpt-100-1", reason="damaged", moved_to="")),
                (200, restored(40)),
                (200, TrainingStarted(step=40)),
                (320, saved(160, 3)),
                (320, AttemptEnded(outcome="stopped", step=160)),
            ],
        ),
    )
    assert steps(events) == [(0, 100, 100, 60, 0), (100, 160, 60, 60, 0), (40, 160, 120, 0, 120)]
    assert [mark.kind for mark in ledger(events).attempts[2].marks][:3] == [
        "passed_over",
        "passed_over",
        "restored",
    ]


def test_nothing_is_lost_to_an_attempt_that_has_trained_nothing():
    """It only looked, or failed before its first step; the next one starts from the newest."""
    one = (
        1,
        [
            (0, started()),
            (0, TrainingStarted(step=0)),
            (50, saved(50)),
            (100, saved(100)),
            (100, AttemptEnded(outcome="stopped", step=100)),
        ],
    )
    looked = (
        2,
        [(200, started()), (201, restored(50)), (210, AttemptEnded(outcome="stopped", step=50))],
    )
    failed = (
        3,
        [
            (300, started()),
            (301, Failed(error="ConfigError", message="", step=100, restart=False)),
            (302, AttemptEnded(outcome="failed", step=100)),
        ],
    )
    last = (
        4,
        [
            (400, started()),
            (400, restored(100)),
            (400, TrainingStarted(step=100)),
            (500, saved(200, 4)),
            (500, AttemptEnded(outcome="stopped", step=200)),
        ],
    )
    assert steps(journal(one, looked)) == [(0, 100, 100, 0, 0), (50, 50, 0, 0, 0)]
    assert steps(journal(one, looked, failed, last)) == [
        (0, 100, 100, 0, 0),
        (50, 50, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (100, 200, 100, 0, 0),
    ]


def test_an_attempt_that_was_killed_at_its_start_loses_nothing_and_hides_nothing():
    killed = (
        1,
        [
            (0, started()),
            (0, TrainingStarted(step=0)),
            (50, saved(50, taken_at=50.0)),
            (80, Progressed(step=80)),
        ],
    )
    again = (2, [(100, started()), (101, CleanedUp(what=".writing-1"))])
    assert steps(journal(killed, again)) == [(0, 80, 80, 30, 0), (0, 0, 0, 0, 0)]


def test_a_program_that_restores_again_loses_its_own_steps():
    events = journal(
        (
            1,
            [
                (0, started()),
                (0, TrainingStarted(step=0)),
                (50, saved(50, taken_at=50.0)),
                (80, Progressed(step=80)),
                (90, restored(50)),
                (130, saved(90, taken_at=130.0)),
                (130, AttemptEnded(outcome="stopped", step=90)),
            ],
        )
    )
    (attempt,) = ledger(events).attempts
    assert (attempt.steps_done, attempt.steps_lost, attempt.steps_redone, attempt.last_step) == (
        80 + 40,
        30,
        30,
        90,
    )
    assert parts(events) == {"productive": 50 + 40, "wasted_progress": 40}


def test_a_loop_that_names_its_steps_itself_is_seen_by_its_saves():
    events = journal(
        (
            1,
            [
                (0, started()),
                (10, saved(10, taken_at=10.0)),
                (30, saved(30, taken_at=30.0)),
                (35, SaveFailed(step=34, error="E", message="")),
            ],
        ),
        (
            2,
            [
                (40, started()),
                (41, restored(30)),
                (60, saved(50, 2, taken_at=60.0)),
                (60, AttemptEnded(outcome="stopped", step=50)),
            ],
        ),
    )
    assert steps(events) == [(0, 34, 34, 4, 0), (30, 50, 20, 0, 4)]


def test_a_checkpoint_proves_steps_that_nobody_could_tell_of():
    """It was killed between the rename and the line in the journal."""
    events = journal(
        (1, [(0, started()), (0, TrainingStarted(step=0)), (60, Progressed(step=60))]),
        (
            2,
            [
                (100, started()),
                (100, restored(80, 1)),
                (100, TrainingStarted(step=80)),
                (120, saved(100, 2)),
                (120, AttemptEnded(outcome="stopped", step=100)),
            ],
        ),
    )
    assert steps(events) == [(0, 80, 80, 0, 0), (80, 100, 20, 0, 0)]


def test_a_finished_run_goes_on_with_more_epochs():
    events = journal(
        (
            1,
            [
                (0, started()),
                (0, TrainingStarted(step=0)),
                (100, saved(100, final=True)),
                (100, Finished(step=100, epoch=1)),
                (100, AttemptEnded(outcome="finished", step=100)),
            ],
        ),
        (
            2,
            [
                (1000, started()),
                (1000, restored(100)),
                (1000, TrainingStarted(step=100)),
                (1100, saved(200, 2, final=True)),
                (1100, Finished(step=200, epoch=2)),
                (1100, AttemptEnded(outcome="finished", step=200)),
            ],
        ),
    )
    assert steps(events) == [(0, 100, 100, 0, 0), (100, 200, 100, 0, 0)]
    assert parts(events) == {"productive": 200, "idle": 900}


def test_a_first_fresh_start_begins_no_second_life():
    events = journal(
        (
            1,
            [
                (0, started()),
                (0, SetAside(label="a", moved_to="")),
                (0, TrainingStarted(step=0)),
                (10, saved(10)),
            ],
        )
    )
    assert ledger(events).life == 1


# -- ends


TRAINED = [(0.0, started()), (0.0, TrainingStarted(step=0)), (50.0, saved(50, taken_at=50.0))]


@pytest.mark.parametrize(
    ("told", "outcome", "cause", "end"),
    [
        (
            [(90, Finished(step=50, epoch=1)), (91, AttemptEnded(outcome="finished", step=50))],
            "finished",
            "finished at step 50",
            91,
        ),
        (
            [(90, Finished(step=50, epoch=1))],
            "finished",
            "finished at step 50; nothing was recorded after that",
            90,
        ),
        (
            [
                (90, Failed(error="ValueError", message="no\nmore", step=60, restart=True)),
                (91, AttemptEnded(outcome="failed", step=60)),
            ],
            "failed",
            "failed at step 60: ValueError: no",
            91,
        ),
        (
            [
                (90, RunPreempted(step=60, reason="SIGTERM", exit_code=75, secs=1)),
                (91, AttemptEnded(outcome="preempted", step=60)),
            ],
            "preempted",
            "stopped by SIGTERM at step 60",
            91,
        ),
        (
            [(91, AttemptEnded(outcome="preempted", step=60))],
            "preempted",
            "stopped at step 60 with another run of its process",
            91,
        ),
        (
            [(91, AttemptEnded(outcome="stopped", step=60))],
            "stopped",
            "closed the run at step 60, before its end",
            91,
        ),
        (
            [(91, AttemptEnded(outcome="a later word", step=60))],
            "a later word",
            "a later word at step 60",
            91,
        ),
        (
            [(60, SignalReceived(signal="SIGTERM", phase="training"))],
            "dead",
            "was killed: its process is gone and recorded no end; it had received SIGTERM",
            60,
        ),
        (
            [(60, SignalReceived(signal="SIGCONT", phase="training"))],
            "dead",
            "was killed: its process is gone and recorded no end",
            60,
        ),
    ],
    ids=[
        "finished",
        "finished, no end",
        "failed",
        "preempted",
        "beside another",
        "stopped",
        "later",
        "killed after a signal",
        "killed",
    ],
)
def test_the_end_of_the_newest_attempt(told, outcome, cause, end):
    (attempt,) = ledger(journal((1, [*TRAINED, *told]))).attempts
    assert (attempt.outcome, attempt.cause, attempt.end) == (outcome, cause, end)
    assert attempt.marks[-1].kind == outcome


def test_a_program_that_trains_on_after_an_end_has_another_end():
    """A loop over more steps follows in the same process; what it has done since its last save is
    lost where it is killed.
    """
    told = [
        *TRAINED,
        (60, Finished(step=50, epoch=1)),
        (61, TrainingStarted(step=50)),
        (70, Progressed(step=60)),
        (75, saved(70, taken_at=74.0)),
    ]
    assert [(a.outcome, a.steps_lost) for a in ledger(journal((1, told)), runs=True).attempts] == [
        ("training", 0)
    ]
    dead = (1, [*told, (80, Progressed(step=80))])
    (attempt,) = ledger(journal(dead)).attempts
    assert (attempt.outcome, attempt.last_step, attempt.steps_lost) == ("dead", 80, 10)
    assert parts(journal(dead)) == {"productive": 74, "wasted_progress": 6}
    for last, outcome in (
        (RunPreempted(step=70, reason="SIGTERM", exit_code=75, secs=1), "preempted"),
        (Failed(error="E", message="", step=72, restart=True), "failed"),
        (AttemptEnded(outcome="stopped", step=70), "stopped"),
    ):
        assert [a.outcome for a in ledger(journal((1, [*told, (90, last)]))).attempts] == [outcome]
    again = [
        *TRAINED,
        (60, Finished(step=50, epoch=1)),
        (61, TrainingStarted(step=50)),
    ]  # a loop over the same steps has nothing to do
    assert [a.outcome for a in ledger(journal((1, again))).attempts] == ["finished"]


def test_a_process_that_runs():
    (attempt,) = ledger(journal((1, TRAINED)), runs=True).attempts
    assert (attempt.outcome, attempt.cause, attempt.end, attempt.goes_on) == (
        "training",
        "training",
        None,
        True,
    )
    assert attempt.marks[-1].kind == "saved"
    (attempt,) = ledger(
        journal((1, [*TRAINED, (60, Finished(step=50, epoch=1))])), runs=True
    ).attempts  # it exports
    assert (attempt.outcome, attempt.cause, attempt.end, attempt.goes_on) == (
        "finished",
        "finished at step 50; its process still runs",
        None,
        True,
    )


def test_a_process_on_another_machine_is_not_asked_for():
    (attempt,) = ledger_of(
        journal((1, TRAINED)), 100.0, host="here", is_running=pytest.fail
    ).attempts
    assert (attempt.outcome, attempt.end, attempt.last_sign, attempt.goes_on) == (
        "unknown",
        None,
        50,
        False,
    )
    assert attempt.cause == "no end recorded on node7: it runs there or was lost"


def test_an_attempt_that_another_one_followed_is_over():
    follower = (2, [(100, started())])
    taker = (2, [(100, started()), (101, TakenOver(owner="node7"))])
    assert (
        ledger(journal((1, TRAINED), follower), runs=True).attempts[0].cause
        == "was killed, or lost with its machine: it recorded no end"
    )
    assert (
        ledger(journal((1, TRAINED), taker), runs=True).attempts[0].cause
        == "gave no further sign of life, and the run was taken over"
    )
    assert [
        attempt.outcome for attempt in ledger(journal((1, TRAINED), follower), runs=True).attempts
    ] == ["dead", "training"]


# -- launchers


def test_a_launcher_that_does_not_know_the_number_is_believed_by_the_time():
    events = journal(
        (
            LAUNCHER,
            [
                (-20, launched(1)),
                (-15, launch_over(1, words="ended with exit code 1")),
                (-10, launched(2)),
                (70, launch_over(2)),
                (90, launched(3)),
            ],
        ),
        (1, TRAINED),
        (2, [(100, started())]),
    )
    first, second = ledger(events).attempts
    assert (first.outcome, first.cause, first.end, first.began) == (
        "dead",
        "was ended by SIGKILL",
        70,
        0,
    )  # no time is before 1970
    assert (second.began, second.start) == (90, 100)


def test_of_several_runs_in_one_start_the_last_has_its_end_and_the_first_its_beginning():
    events = journal(
        (LAUNCHER, [(1000, launched(1)), (1500, launch_over(1))]),
        (
            1,
            [
                (1010, started()),
                (1010, TrainingStarted(step=0)),
                (1100, saved(10)),
                (1100, AttemptEnded(outcome="stopped", step=10)),
            ],
        ),
        (
            2,
            [
                (1200, started()),
                (1200, restored(10)),
                (1200, TrainingStarted(step=10)),
                (1300, Progressed(step=20)),
            ],
        ),
    )
    first, second = ledger(events).attempts
    assert (first.began, first.outcome, first.end) == (1000, "stopped", 1100)
    assert (second.began, second.outcome, second.end) == (1200, "dead", 1500)


def test_what_was_started_by_hand_after_a_launcher_is_not_of_it():
    events = journal(
        (LAUNCHER, [(990, launched(1)), (1100, launch_over(1, words="was ended by SIGKILL"))]),
        (1, [(1000, started()), (1000, TrainingStarted(step=0)), (1050, saved(50))]),
        (
            2,
            [
                (1200, started()),
                (1200, restored(50)),
                (1200, TrainingStarted(step=50)),
                (1300, saved(150, 2)),
            ],
        ),
    )
    first, second = ledger(events).attempts
    assert (first.cause, first.end) == ("was ended by SIGKILL", 1100)
    assert (second.cause, second.end, second.began) == (
        "was killed: its process is gone and recorded no end",
        1300,
        1200,
    )


def test_an_end_that_was_inferred_says_why_and_not_when():
    events = journal(
        (
            LAUNCHER,
            [
                (990, launched(1)),
                (5000, launch_over(1, words="it was lost with its machine", inferred=True)),
            ],
        ),
        (1, [(1000, started()), (1000, TrainingStarted(step=0)), (1060, Progressed(step=60))]),
    )
    (attempt,) = ledger(events).attempts
    assert attempt.cause.startswith("it was lost with its machine; ")
    assert attempt.end == 1060


@pytest.mark.parametrize(
    ("along", "words", "done"),
    [
        ([TrainingStarted(step=0)], "after an unknown number of steps", "?"),
        ([TrainingStarted(step=0), Progressed(step=240)], "at step 240 or later", "240+"),
        ([Progressed(step=240)], "at step 240 or later", "240+"),  # a loop that names its steps
    ],
)
def test_an_attempt_that_died_before_its_first_save_says_so(along, words, done):
    """What the journal knows of it is a lower bound, and is not stated as a fact."""
    first = (1, [(1000, started()), *((1000 + n, event) for n, event in enumerate(along))])
    killed, second = ledger(journal(first, (2, [(2000, started())]))).attempts
    assert killed.cause.endswith(f"; it died before its first save, {words}")
    assert killed.left_no_word
    assert at_least(killed.steps_done, left_no_word=killed.left_no_word) == done
    assert earlier_unsaved([killed, second]) == [f"attempt 1 {killed.cause}"]


@pytest.mark.parametrize(
    "along",
    [
        [],  # it never began a step
        [TrainingStarted(step=0), saved(10), Progressed(step=20)],
        [TrainingStarted(step=0), Progressed(step=20), AttemptEnded(outcome="stopped", step=20)],
    ],
)
def test_other_attempts_did_not_die_unsaved(along):
    first = (1, [(1000, started()), *((1000 + n, event) for n, event in enumerate(along))])
    assert earlier_unsaved(ledger(journal(first, (2, [(2000, started())]))).attempts) == []


# -- what is counted


def test_saves_signals_and_notices():
    (attempt,) = ledger(
        journal(
            (
                1,
                [
                    *TRAINED,
                    (55, SaveDropped(step=55, reason="newer")),
                    (60, saved(60, snapshot_secs=0.5)),
                    (61, SaveFailed(step=61, error="E", message="")),
                    (62, SignalReceived(signal="SIGTERM", phase="training")),
                    (63, NoticeReceived(source="EC2", grace_secs=120)),
                ],
            )
        )
    ).attempts
    assert (
        attempt.saves,
        attempt.saved_bytes,
        attempt.saves_dropped,
        attempt.saves_failed,
        attempt.stall_secs,
    ) == (2, 2000, 1, 1, 0.5)
    assert (attempt.signals, attempt.notices, attempt.last_step) == (("SIGTERM",), ("EC2",), 61)
    assert [mark.kind for mark in attempt.marks] == [
        "training",
        "saved",
        "save_dropped",
        "saved",
        "save_failed",
        "signal",
        "notice",
        "dead",
    ]


def test_the_stall_is_what_was_told_and_what_came_after():
    (attempt,) = ledger(
        journal(
            (
                1,
                [
                    *TRAINED,
                    (60, Progressed(step=60, spent={"training": 55, "saving": 5})),
                    (70, saved(70, snapshot_secs=0.25)),
                    (80, saved(80, snapshot_secs=0.25)),
                ],
            )
        )
    ).attempts
    assert attempt.stall_secs == 5.5
