"""Determines the state of a run from its journal: one word, and a sentence for people."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ckptkit.cli.plain_text import count, duration, plain
from ckptkit.report.attempt_endings import finish_of
from ckptkit.report.running_processes import attempt_is_running
from ckptkit.run.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Failed,
    Finished,
    Progressed,
    RolledBack,
    Saved,
    SetAside,
    TrainingStarted,
)

E = TypeVar("E", bound=Event)

STATE_EVENTS = frozenset(
    {AttemptStarted, AttemptEnded, Failed, Finished, RolledBack, SetAside, TrainingStarted}
)
"""The kinds of events that determine the state.

In addition, only the newest save of an attempt and the newest event matter.
"""

_LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class RunState:
    """What a run does now, in one word, and in a sentence for people.

    Args:
        name: `new`, `training`, `finished`, `stopped`, `preempted`, `failed`, `dead` (its process
            is gone and recorded no end) or `unknown` (it runs on another machine, or was lost with
            it).
        words: the same for people.
        attempts: the number of processes that have trained the run.
        last: the newest event, or None.
        host: the machine of the newest attempt; empty if there was none.
    """

    name: str
    words: str
    attempts: int
    last: Event | None
    host: str = ""


def run_state(
    events: Sequence[Event],
    now: float,
    *,
    host: str | None = None,
    is_running: Callable[[AttemptStarted], bool] | None = None,
) -> RunState:
    """Return what a run does now, as far as its journal shows.

    Args:
        events: the journal, in the order of time.
        now: seconds since the epoch.
        host: the name of this machine; by default it is looked up.
        is_running: whether the process of an attempt on this machine still runs; by default the
            system is asked.
    """
    last = events[-1] if events else None
    deciding = [event for event in events if type(event) in STATE_EVENTS]
    starts = _of(deciding, AttemptStarted)
    # prune and rollback use attempt numbers and write journals as well, but start no training.
    attempts = len({event.attempt for event in starts})
    started = max(starts, key=lambda event: event.attempt, default=None)
    if started is None:
        return RunState("new", "no attempt in the journal yet", attempts, last)
    rolled_back = max(_of(deciding, RolledBack), key=lambda event: event.attempt, default=None)
    if rolled_back is not None and rolled_back.attempt > started.attempt:
        return RunState(
            "stopped",
            f"rolled back to step {rolled_back.step}; the next start resumes from there",
            attempts,
            last,
            started.host,
        )
    own = [event for event in deciding if event.attempt == started.attempt]
    finished = _finish_of_this_life(events, deciding)
    name, words = _ended(own, finished) or _unended(
        events, started, now, host or socket.gethostname(), is_running or attempt_is_running
    )
    is_over = finished is not None and not _has_trained_since(finished, events)
    if finished is not None and is_over and name not in ("finished", "training"):
        # A later start that has trained nothing, as one that is refused, leaves the run finished.
        later = f"; a later start {words}" if name == "failed" else ""
        name, words = "finished", f"{_finish_in_words(finished)}{later}"
    return RunState(name, words, attempts, last, started.host)


def _finish_of_this_life(events: Sequence[Event], deciding: Sequence[Event]) -> Finished | None:
    """Return the newest end of training since the last fresh start; None if there is none."""
    fresh = max((event.attempt for event in _of(deciding, SetAside)), default=0)
    finished = _last([event for event in deciding if event.attempt >= fresh], Finished)
    if finished is None:
        return None
    return finish_of(event for event in events if event.attempt == finished.attempt)


def _has_trained_since(finished: Finished, events: Sequence[Event]) -> bool:
    """Return whether an attempt after the one that finished has trained, or was rolled back.

    Some loops record no beginning, so only a later step shows that they have trained.
    """
    return any(
        isinstance(event, TrainingStarted | RolledBack)
        or (
            isinstance(event, Progressed | Saved | Failed | AttemptEnded)
            and event.step > finished.step
        )
        for event in events
        if event.attempt > finished.attempt
    )


def _finish_in_words(finished: Finished) -> str:
    epochs = f" ({count(finished.epoch, 'epoch')})" if finished.epoch else ""
    early = f", stopped early by {plain(finished.stopped_by)}" if finished.stopped_by else ""
    return f"finished at step {finished.step}{epochs}{early}"


def _ended(own: Sequence[Event], finished: Finished | None) -> tuple[str, str] | None:
    """Return the state of an attempt that recorded its end; None if it has not.

    A later attempt on a finished run trains nothing, so `finished` may come from an earlier one.
    """
    ended, failed = _last(own, AttemptEnded), _last(own, Failed)
    over = ended is not None and ended.outcome == "finished"
    if finished is not None and (over or finished in own):
        return "finished", _finish_in_words(finished)
    if over and ended is not None:
        return "finished", f"finished at step {ended.step}"
    if failed is not None:
        message = plain(failed.message.strip().partition("\n")[0])[:_LONGEST_MESSAGE]
        return (
            "failed",
            f"failed at step {failed.step}: "
            f"{plain(failed.error)}{': ' if message else ''}{message}",
        )
    if ended is not None:
        return plain(
            ended.outcome
        ), f"{plain(ended.outcome)} at step {ended.step}; the next start resumes it"
    return None


def _unended(
    events: Sequence[Event],
    started: AttemptStarted,
    now: float,
    host: str,
    is_running: Callable[[AttemptStarted], bool],
) -> tuple[str, str]:
    """Return the state of an attempt without an end: it runs, or its process was killed."""
    saved = next(
        (
            event
            for event in reversed(events)
            if isinstance(event, Saved) and event.attempt == started.attempt
        ),
        None,
    )
    newest = (
        f"its newest save is of step {saved.step}"
        if saved is not None
        else "it has saved nothing yet"
    )
    if started.host != host:
        return (
            "unknown",
            f"process {started.pid} on {plain(started.host)} has recorded no end: it runs or was "
            f"lost; {newest}",
        )
    if is_running(started):
        return (
            "training",
            f"training (process {started.pid}, for {duration(now - started.time)}); {newest}",
        )
    return "dead", f"dead: process {started.pid} is gone and recorded no end; {newest}"


def _of(events: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def _last(events: Sequence[Event], kind: type[E]) -> E | None:
    found = _of(events, kind)
    return found[-1] if found else None
