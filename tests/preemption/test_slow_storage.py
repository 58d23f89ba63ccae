"""A notice is taken before anything is written: the journal may be on storage that hangs. The last
one counts.
"""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ckptkit.layout import RunLayout
from ckptkit.preemption.policy import Preemption
from ckptkit.run import events
from ckptkit.session.phase import SessionPhase
from ckptkit.session.stopping import Stopping

OPTIONS = SimpleNamespace(preemption=Preemption(), layout=RunLayout(Path("run")))
"""Of a run that is never opened."""


@pytest.mark.parametrize("secs", [7.0, 3000.0])
def test_the_deadline_and_the_request_stand_before_the_journal_is_written(secs):
    seen = []

    def record(event, at=None):
        decided_by.append(stopping._deadline)
        seen.append((type(event), stopping.requested))

    decided_by: list[float | None] = []
    stopping = Stopping(
        SimpleNamespace(), OPTIONS, SimpleNamespace(record=record), SimpleNamespace(write_secs=None)
    )
    try:
        stopping.goes_away("gce: the instance is preempted", secs)
    finally:
        stopping.stays()
        stopping.close()
    assert seen == [(events.NoticeReceived, True)]
    assert decided_by != [None]


def test_the_last_resort_is_set_anew_with_each_deadline_and_called_off_with_the_last():
    stopping = Stopping(
        SimpleNamespace(),
        OPTIONS,
        SimpleNamespace(record=lambda event, at=None: None),
        SimpleNamespace(write_secs=None),
    )

    def waiting():
        return [
            timer.interval
            for timer in threading.enumerate()
            if isinstance(timer, threading.Timer) and not timer.finished.is_set()
        ]

    others = waiting()
    try:
        for secs in (600.0, 80.0, 3000.0):
            stopping.goes_away("somebody", secs)
            assert sorted(waiting()) == sorted([*others, secs - 1.0])
    finally:
        stopping.stays()
        stopping.close()
    assert waiting() == others


def test_the_last_resort_leaves_the_time_that_the_reserve_takes():
    """A save of everything takes longer than that, and must not make it fire at once."""
    reserve = SimpleNamespace(position=5)
    stopping = Stopping(
        SimpleNamespace(),
        OPTIONS,
        SimpleNamespace(record=lambda event, at=None: None),
        SimpleNamespace(
            write_secs=500.0, write_secs_for=lambda taken: 20.0 if taken is reserve else None
        ),
    )
    stopping.reserve = reserve
    try:
        stopping.goes_away("somebody", 600.0)
        assert stopping._timer.interval == 600.0 - 1.5 * 20.0 - 1.0
    finally:
        stopping.stays()
        stopping.close()


def test_nothing_is_saved_as_a_last_resort_when_the_attempt_is_over():
    """An exception in an evaluation ended it while the machine was about to go away; the program
    goes on, and the run is another's by then.
    """
    saved = []
    session = SimpleNamespace(
        phases=SimpleNamespace(phase="evaluating"),
        saved_at=0,
        save=lambda *words: saved.append(words),
    )
    stopping = Stopping(
        session,
        OPTIONS,
        SimpleNamespace(record=lambda event, at=None: None),
        SimpleNamespace(write_secs=None, write_secs_for=lambda taken: None, unsaved=None),
    )
    stopping.reserve = SimpleNamespace(position=5)
    stopping.goes_away("gce: the instance is preempted", 3600.0)
    timer = stopping._timer
    stopping.close()
    assert timer.finished.is_set()
    timer.function()  # as if it had fired while the run was being closed
    assert not saved


def test_a_signal_that_is_told_while_the_run_is_closed_leaves_no_timer_behind():
    """The thread that hears it asks a launcher first how much time is left."""
    told = []
    stopping = Stopping(
        SimpleNamespace(phases=SimpleNamespace(phase=SessionPhase.TRAINING)),
        OPTIONS,
        SimpleNamespace(record=lambda event, at=None: told.append(event.signal)),
        SimpleNamespace(write_secs=None),
    )
    stopping.before_signal = lambda: time.sleep(0.3)
    stopping.start()
    signal.raise_signal(signal.SIGTERM)
    stopping.close()
    assert told == ["SIGTERM"]
    assert not [each for each in threading.enumerate() if each.name == "ckptkit-last-resort"]
