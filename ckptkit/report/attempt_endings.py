"""Decides how an attempt ended: in one word, and in a sentence for people. Pure."""

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
"""Signals after which a process that does not stop in time is usually killed."""


@dataclass(frozen=True, kw_only=True)
class AttemptEnding:
    """The end of an attempt, in one word and in a sentence.

    Args:
        outcome, cause, end, wanted: see `Attempt`.
        last_sign: the time of its last sign of life.
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
    """Decide how an attempt ended.

    The attempt's own record of its end counts most, then the launcher's, then whether the process
    still runs.

    Args:
        own: the events that the attempt recorded.
        launch: what its launcher recorded about its end, or None.
        newest: whether no later attempt has begun.
        runs: whether its process still runs; None if that is unknown or does not matter.
        taken_over: whether the next attempt took the run over because this one gave no sign of
            life.
    """
    last_event = last_sign = moment(max(event.time for event in own.events))
    if launch is not None and not launch.inferred:
        last_sign = max(last_sign, moment(launch.time))
    recorded = _recorded_end(own)
    if recorded is not None:
        outcome, cause, wanted = recorded
        ended = own.last(AttemptEnded)
        if ended is None and newest and runs and launch is None:
            # Training is over, but the program is not, for example while it exports.
            return AttemptEnding(
                outcome=outcome,
                cause=f"{cause}; its process still runs",
                end=None,
                last_sign=last_sign,
                wanted=wanted,
            )
        if ended is None:
            launcher = f": {shortened(launch.words)}" if launch is not None else ""
            cause = f"{cause}; nothing was recorded after that{launcher}"
        return AttemptEnding(
            outcome=outcome,
            cause=cause,
            end=last_sign if ended is None else last_event,
            last_sign=last_sign,
            wanted=wanted,
        )
    if launch is not None:
        return AttemptEnding(
            outcome="dead",
            cause=f"{shortened(launch.words)}{_after_a_signal(own)}",
            end=last_sign,
            last_sign=last_sign,
        )
    if newest and runs:
        return AttemptEnding(outcome="training", cause="training", end=None, last_sign=last_sign)
    started = own.first(AttemptStarted)
    if newest and runs is None and started is not None:
        return AttemptEnding(
            outcome="unknown",
            cause=f"no end recorded on {shortened(started.host)}: it runs there or was lost",
            end=None,
            last_sign=last_sign,
        )
    if newest:
        words = "was killed: its process is gone and recorded no end"
    elif taken_over:
        words = "gave no further sign of life, and the run was taken over"
    else:
        words = "was killed, or lost with its machine: it recorded no end"
    return AttemptEnding(
        outcome="dead", cause=f"{words}{_after_a_signal(own)}", end=last_sign, last_sign=last_sign
    )


def finish_of(own: Iterable[Event]) -> Finished | None:
    """Return the end of training that an attempt reached, or None.

    A program may train on after it, as in a further loop. Then the earlier end does not count.

    Args:
        own: the attempt's events, in the order in which they were written.
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


def _recorded_end(own: AttemptEvents) -> tuple[str, str, bool] | None:
    """Return the end that the attempt recorded: outcome, words, and whether it was wanted."""
    ended, failed, preempted = own.last(AttemptEnded), own.last(Failed), own.last(RunPreempted)
    finished = finish_of(own.events) if own.first(Finished) is not None else None
    if finished is not None or (ended is not None and ended.outcome == "finished"):
        step = finished.step if finished is not None else ended.step if ended is not None else 0
        if own.first(TrainingStarted) is None and finished is None:
            return "finished", f"the run had finished at step {step}: nothing was trained", True
        return "finished", f"finished at step {step}", True
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
        return "stopped", f"closed the run at step {ended.step}, before its end", True
    if ended is not None:
        return shortened(ended.outcome), f"{shortened(ended.outcome)} at step {ended.step}", False
    return None


def _after_a_signal(own: AttemptEvents) -> str:
    named = [event.signal for event in own.all(SignalReceived) if event.signal in _FATAL]
    return f"; it had received {named[-1]}" if named else ""


def shortened(text: str) -> str:
    """Return a text of the journal, cut to a length that a person reads."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
