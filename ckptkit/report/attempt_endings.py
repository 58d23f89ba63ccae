"""How an attempt has ended, in one word and in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ckptkit.report.attempt_events import AttemptEvents
from ckptkit.report.clamp_time import moment
from ckptkit.run.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Failed,
    Finished,
    LaunchEnded,
    Progressed,
    Requested,
    RunPreempted,
    Saved,
    SignalReceived,
    TrainingStarted,
)

_LONGEST = 500
_FATAL = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGXCPU"})
"""Signals after which somebody who does not stop in time is killed."""


@dataclass(frozen=True, kw_only=True)
class AttemptEnding:
    """How an attempt has ended.

    Args:
        outcome, cause, end, wanted: see `Attempt`.
        last_sign: when it was last heard of.
    """

    outcome: str
    cause: str
    end: float | None
    last_sign: float
    wanted: bool = False


def ending_of(
    own: AttemptEvents,
    launch: LaunchEnded | None,
    *,
    newest: bool,
    runs: bool | None,
    taken_over: bool,
) -> AttemptEnding:
    """How it has ended.

    Args:
        own: its events.
        launch: what its launcher says of its end, or None.
        newest: whether no later attempt has begun.
        runs: whether its process runs on this machine; None where nobody can know, or where it does
            not matter.
        taken_over: whether the next attempt took the run from one that gave no sign of life.
    """
    said = heard = moment(max(event.time for event in own.events))
    if launch is not None and not launch.inferred:
        heard = max(heard, moment(launch.time))
    told = _told(own)
    if told is not None:
        outcome, cause, wanted = told
        ended = own.last(AttemptEnded)
        if ended is None and newest and runs and launch is None:
            return AttemptEnding(
                outcome=outcome,
                cause=f"{cause}; its process still runs",
                end=None,
                last_sign=heard,
                wanted=wanted,
            )  # as while it exports
        if ended is None:
            cause = f"{cause}; it left no word after that{f': {shortened(launch.words)}' if launch is not None else ''}"
        return AttemptEnding(
            outcome=outcome,
            cause=cause,
            end=heard if ended is None else said,
            last_sign=heard,
            wanted=wanted,
        )
    if launch is not None:
        return AttemptEnding(
            outcome="dead",
            cause=f"{shortened(launch.words)}{_after_a_signal(own)}",
            end=heard,
            last_sign=heard,
        )
    if newest and runs:
        return AttemptEnding(outcome="training", cause="training", end=None, last_sign=heard)
    started = own.first(AttemptStarted)
    if newest and runs is None and started is not None:
        return AttemptEnding(
            outcome="unknown",
            cause=f"no word of an end from {shortened(started.host)}: it runs there or was lost",
            end=None,
            last_sign=heard,
        )
    if newest:
        words = "was killed: its process is gone and left no word"
    elif taken_over:
        words = "gave no sign of life any more, and the run was taken over"
    else:
        words = "was killed, or lost with its machine: it left no word"
    return AttemptEnding(
        outcome="dead", cause=f"{words}{_after_a_signal(own)}", end=heard, last_sign=heard
    )


def finish_of(own: Iterable[Event]) -> Finished | None:
    """The end of training that an attempt came to, unless it has trained on since then, as in a
    further loop.

    Args:
        own: its events, as it has written them.
    """
    finished: Finished | None = None
    for event in own:
        if isinstance(event, Finished):
            finished = event
        elif (
            finished is not None
            and isinstance(event, Progressed | Saved | RunPreempted | Failed | AttemptEnded)
            and event.step > finished.step
        ):
            finished = None
    return finished


def _told(own: AttemptEvents) -> tuple[str, str, bool] | None:
    """The end that it has told of itself: outcome, words, and whether it was wanted."""
    ended, failed, preempted = own.last(AttemptEnded), own.last(Failed), own.last(RunPreempted)
    finished = finish_of(own.events) if own.first(Finished) is not None else None
    if finished is not None or (ended is not None and ended.outcome == "finished"):
        step = finished.step if finished is not None else ended.step if ended is not None else 0
        if own.first(TrainingStarted) is None and finished is None:
            return "finished", f"the run had finished at step {step}: nothing was trained", True
        return "finished", f"came to its end at step {step}", True
    if failed is not None:
        message = shortened(failed.message.strip().partition("\n")[0])
        return (
            "failed",
            f"failed at step {failed.step}: "
            f"{shortened(failed.error)}{': ' if message else ''}{message}",
            False,
        )
    if preempted is not None and (ended is None or ended.outcome == "preempted"):
        asked = preempted.reason == "SIGINT" or any(
            request.action == "stop" for request in own.all(Requested)
        )
        return (
            "preempted",
            f"stopped by {shortened(preempted.reason)} at step {preempted.step}",
            asked,
        )
    if ended is not None and ended.outcome == "preempted":
        return "preempted", f"stopped at step {ended.step} with another run of its process", False
    if ended is not None and ended.outcome == "stopped":
        return "stopped", f"let go of the run at step {ended.step}, before its end", True
    if ended is not None:
        return shortened(ended.outcome), f"{shortened(ended.outcome)} at step {ended.step}", False
    return None


def _after_a_signal(own: AttemptEvents) -> str:
    named = [event.signal for event in own.all(SignalReceived) if event.signal in _FATAL]
    return f"; {named[-1]} had come before" if named else ""


def shortened(text: str) -> str:
    """A text of the journal that is not longer than a person reads."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
