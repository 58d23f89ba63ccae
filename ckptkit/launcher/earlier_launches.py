"""Finds how earlier starts of a training ended: as recorded in the journal, or inferred. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from ckptkit.exit_codes import ExitCode
from ckptkit.launcher.exit_cause import Cause
from ckptkit.launcher.restart_decision import EarlierEnd
from ckptkit.ownership.machine_identity import Machine
from ckptkit.run.events import (
    AttemptEnded,
    Event,
    LaunchDecided,
    LaunchEnded,
    LaunchStarted,
    NoticeReceived,
    SignalReceived,
    TrainingStarted,
)

_CAUSES = get_args(Cause)
_ENDING_SIGNALS = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"})
"""Signals after which a launcher is expected to end.

If the launcher was killed after one of them, the end was ordered."""


@dataclass(frozen=True)
class UnfinishedStart:
    """A start of a training whose end no journal records.

    Args:
        started: the start.
        stop_ordered: whether its launcher had received a notice, or a signal to end.
        trained: the numbers of its attempts that trained and recorded no end either.
    """

    started: LaunchStarted
    stop_ordered: bool
    trained: frozenset[int]


def unfinished_starts(events: Sequence[Event]) -> list[UnfinishedStart]:
    """Return the starts whose end no journal records, in the order of time."""
    ended = {(event.launcher, event.number) for event in events if isinstance(event, LaunchEnded)}
    starts = sorted(
        (event for event in events if isinstance(event, LaunchStarted)),
        key=lambda event: event.time,
    )
    over = {event.attempt for event in events if isinstance(event, AttemptEnded)}
    found = []
    for start, until in zip(starts, [*(each.time for each in starts[1:]), math.inf], strict=False):
        if (start.launcher, start.number) not in ended:
            own_events = [event for event in events if start.time <= event.time < until]
            stop_ordered = any(
                isinstance(event, NoticeReceived)
                or (isinstance(event, SignalReceived) and event.signal in _ENDING_SIGNALS)
                for event in own_events
            )
            trained = {event.attempt for event in own_events if isinstance(event, TrainingStarted)}
            found.append(UnfinishedStart(start, stop_ordered, frozenset(trained - over)))
    return found


def infer_end(
    lost: UnfinishedStart, *, here: Machine | None, first: bool, killed: bool, step: int
) -> LaunchEnded:
    """Return the most likely end of a start whose end no journal records.

    Args:
        lost: the start.
        here: this machine if the start was on it and it has not rebooted since; else None.
        first: whether this process is process 1 of its PID namespace, as in a container.
        killed: whether its training is gone too and recorded no end.
        step: the newest committed step.
    """
    started = lost.started
    if lost.stop_ordered:
        cause, words = "preempted", "its machine went away after a notice"
    elif here is None:
        cause, words = "machine", f"it was lost with its machine ({started.host}), without a notice"
    elif first and started.pid == 1 and started.host == here.host:
        # A container that is restarted on the same machine keeps its host name.
        cause, words = (
            "memory",
            "its whole container was killed and restarted on the same machine: most often because "
            "it ran out of memory",
        )
    elif killed:
        cause, words = (
            "killed",
            "it was killed together with its launcher, but the machine still runs: out of memory, "
            "or killed by the system",
        )
    else:
        cause, words = "launcher", "its launcher was killed"
    return LaunchEnded(
        launcher=started.launcher,
        number=started.number,
        cause=cause,
        words=words,
        exit_code=None,
        signal="",
        step=step,
        inferred=True,
        told=lost.stop_ordered,
    )


def earlier_ends(events: Sequence[Event]) -> list[EarlierEnd]:
    """Return the ends in a journal that count for the budgets, oldest first.

    After a launcher has given up, the count begins again, because a person decides about the next
    start.
    """
    steps = {
        (event.launcher, event.number): event.step
        for event in events
        if isinstance(event, LaunchStarted)
    }
    found: list[EarlierEnd] = []
    for event in events:
        if isinstance(event, LaunchEnded):
            advanced = event.step > steps.get((event.launcher, event.number), event.step)
            found.append(
                EarlierEnd(
                    event.time, known_cause(event.cause), advanced, event.trained, event.told
                )
            )
        elif (
            isinstance(event, LaunchDecided)
            and event.action == "stop"
            and event.exit_code != ExitCode.PREEMPTED
        ):
            found = []
    return found


def known_cause(text: str) -> Cause:
    """Return a cause from a journal; "exit" if only a later version knows it."""
    return next((cause for cause in _CAUSES if cause == text), "exit")
