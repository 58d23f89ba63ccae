"""The state of a run, from its journal: a pure function."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import time

import psutil
import pytest

from ckptkit.cli.run_state import RunState, run_state
from ckptkit.run.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Failed,
    Finished,
    Restored,
    RolledBack,
    RunPreempted,
    Saved,
    SetAside,
    TakenAway,
    TrainingStarted,
)

NOW = 1000.0


def started(pid: int = 7, host: str = "here") -> AttemptStarted:
    return AttemptStarted(host=host, pid=pid, program="train.py")


def saved(step: int) -> Saved:
    return Saved(
        checkpoint=f"ckpt-{step}-1",
        step=step,
        epoch=0,
        batch=0,
        trigger="",
        size_bytes=1,
        snapshot_secs=0,
        write_secs=0,
    )


def state(*lives: list[Event], running: bool = False) -> RunState:
    """The state after these attempts."""
    seconds = itertools.count()
    events = [
        dataclasses.replace(event, attempt=number, time=float(next(seconds)))
        for number, life in enumerate(lives, start=1)
        for event in life
    ]
    return run_state(events, NOW, host="here", is_running=lambda _: running)


FINISHED = [
    started(),
    saved(9),
    Finished(step=9, epoch=3),
    AttemptEnded(outcome="finished", step=9),
]
PREEMPTED = [
    started(),
    saved(5),
    RunPreempted(step=5, reason="SIGTERM", exit_code=75, secs=1),
    AttemptEnded(outcome="preempted", step=5),
]
FAILED = [
    started(),
    Failed(error="ValueError", message="bad\nshape", step=4, restart=True),
    AttemptEnded(outcome="failed", step=4),
]
REFUSED = [
    started(),
    Failed(error="ConfigError", message="no", step=0, restart=False),
    AttemptEnded(outcome="failed", step=0),
]
FRESH = SetAside(label="again", moved_to="aside/again")
TRAINED = TrainingStarted(step=9)
ROLLED_BACK = RolledBack(
    checkpoint="ckpt-4-1", step=4, set_aside=["ckpt-9-1"], moved_to="aside/rolled-back-000002"
)


@pytest.mark.parametrize(
    ("lives", "name", "words"),
    [
        ([], "new", "no attempt in the journal yet"),
        ([FINISHED], "finished", "finished at step 9 (3 epochs)"),
        ([FINISHED[:-1]], "finished", "finished at step 9 (3 epochs)"),
        (
            [FINISHED, [started(), AttemptEnded(outcome="finished", step=9)]],
            "finished",
            "finished at step 9 (3 epochs)",
        ),
        ([[started(), AttemptEnded(outcome="finished", step=9)]], "finished", "finished at step 9"),
        (
            [FINISHED, [started(), saved(12)]],
            "dead",
            "dead: process 7 is gone and recorded no end; its newest save is of step 12",
        ),
        ([PREEMPTED], "preempted", "preempted at step 5; the next start resumes it"),
        ([PREEMPTED, FINISHED], "finished", "finished at step 9 (3 epochs)"),
        (
            [[started(), AttemptEnded(outcome="stopped", step=2)]],
            "stopped",
            "stopped at step 2; the next start resumes it",
        ),
        ([FAILED], "failed", "failed at step 4: ValueError: bad"),
        ([FAILED[:-1]], "failed", "failed at step 4: ValueError: bad"),
        (
            [[started()]],
            "dead",
            "dead: process 7 is gone and recorded no end; it has saved nothing yet",
        ),
        (
            [[started(host="there"), saved(3)]],
            "unknown",
            "process 7 on there has recorded no end: it runs or was lost; its newest save "
            "is of step 3",
        ),
        (
            [FINISHED, [ROLLED_BACK]],
            "stopped",
            "rolled back to step 4; the next start resumes from there",
        ),
        (
            [FINISHED, [ROLLED_BACK], PREEMPTED],
            "preempted",
            "preempted at step 5; the next start resumes it",
        ),
        (
            [[*FINISHED[:-1], saved(12)]],
            "dead",
            "dead: process 7 is gone and recorded no end; its newest save is of step 12",
        ),
        (
            [[*FINISHED[:-1], saved(12), AttemptEnded(outcome="stopped", step=14)]],
            "stopped",
            "stopped at step 14; the next start resumes it",
        ),
        (
            [FINISHED, REFUSED],
            "finished",
            "finished at step 9 (3 epochs); a later start failed at step 0: ConfigError: no",
        ),
        (
            [FINISHED, REFUSED, REFUSED[:-1]],
            "finished",
            "finished at step 9 (3 epochs); a later start failed at step 0: ConfigError: no",
        ),
        ([FINISHED, [started()]], "finished", "finished at step 9 (3 epochs)"),
        ([FINISHED, [started(host="there")]], "finished", "finished at step 9 (3 epochs)"),
        (
            [FINISHED, [REFUSED[0], TRAINED, *REFUSED[1:]]],
            "failed",
            "failed at step 0: ConfigError: no",
        ),
        (
            [FINISHED, [started(), TRAINED], REFUSED],
            "failed",
            "failed at step 0: ConfigError: no",
        ),
        (
            [FINISHED, [REFUSED[0], FRESH, *REFUSED[1:]]],
            "failed",
            "failed at step 0: ConfigError: no",
        ),
        ([FINISHED, [ROLLED_BACK], REFUSED], "failed", "failed at step 0: ConfigError: no"),
        (
            [FINISHED, [TakenAway(checkpoint="ckpt-1-1", reason="")]],
            "finished",
            "finished at step 9 (3 epochs)",
        ),
    ],
)
def test_state(lives, name, words):
    found = state(*lives)
    assert (found.name, found.words) == (name, words)
    assert found.attempts == sum(isinstance(life[0], AttemptStarted) for life in lives)


def test_a_process_that_still_runs_is_training():
    found = state(
        PREEMPTED,
        [started(), Restored(checkpoint="ckpt-5-1", step=5, epoch=0, batch=0, secs=1)],
        running=True,
    )
    assert found.name == "training"
    assert found.words == "training (process 7, for 16 min); it has saved nothing yet"
    assert found.last is not None
    assert found.last.event == "restored"


def test_the_number_of_a_dead_process_may_belong_to_another_one():
    begun = psutil.Process().create_time()

    def name(time: float, pid: int) -> str:
        event = AttemptStarted(host="here", pid=pid, program="train.py", time=time, attempt=1)
        return run_state([event], NOW, host="here").name

    assert name(begun + 5, os.getpid()) == "training"
    assert name(begun - 500, os.getpid()) == "dead"
    assert name(begun + 5, 2**31 - 1) == "dead"
    assert name(begun + 5, -1) == "dead"


def test_a_process_that_nobody_has_asked_for_its_code_is_gone():
    """As in a container whose first process asks for none."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        event = AttemptStarted(
            host="here", pid=process.pid, program="train.py", time=time.time(), attempt=1
        )
        assert run_state([event], NOW, host="here").name == "training"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert run_state([event], NOW, host="here").name == "dead"


def test_the_message_of_a_failure_stays_on_its_line():
    found = state([started(), Failed(error="E\x1b[2J", message="x" * 1000, step=1, restart=False)])
    assert found.words == f"failed at step 1: E\\x1b[2J: {'x' * 200}"
