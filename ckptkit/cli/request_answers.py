"""Finds the answer to a request to save or stop in the attempt's journal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptkit.run.events import (
    AttemptEnded,
    Event,
    RequestServed,
    Restored,
    Saved,
    SaveDropped,
    SaveFailed,
)


@dataclass(frozen=True)
class RequestAnswer:
    """The answer to a request to save or stop.

    Args:
        done: whether the state is saved.
        words: the same in words.
        step: the step of the state.
        received: whether the process had read the request.
    """

    done: bool
    words: str
    step: int = 0
    received: bool = False


def answer_to_save(events: Sequence[Event], request_id: str) -> RequestAnswer | None:
    """Return the answer to a request to save; None while it is still open.

    Args:
        events: the attempt's journal, from the line that reports the request.
        request_id: the request.
    """
    step = None
    for event in events:
        if isinstance(event, RequestServed) and event.id == request_id:
            step = event.step
        elif isinstance(event, Saved) and event.step == step:
            return RequestAnswer(True, f"saved {event.checkpoint} ({event.trigger})", event.step)
        elif isinstance(event, SaveFailed | SaveDropped) and event.step == step:
            why = event.message if isinstance(event, SaveFailed) else event.reason
            return RequestAnswer(False, f"Step {event.step} could not be saved: {why}", event.step)
    return None


def answer_by_end(events: Sequence[Event], newest: int | None = None) -> RequestAnswer | None:
    """Return the answer to a request that an attempt's end implies; None while the attempt runs.

    The state is saved if the newest checkpoint is of the step at which the attempt ended. It may
    not be: the machine had no time left, Ctrl-C was pressed twice, or the program called
    `sys.exit`. A new run that has done no step has nothing to save.

    Args:
        events: the attempt's journal.
        newest: the step of the run's newest checkpoint. It counts for an attempt whose journal
            names no checkpoint, because it ended before it had restored one.
    """
    ended = next((event for event in events if isinstance(event, AttemptEnded)), None)
    if ended is None:
        return None
    newest = next(
        (event.step for event in reversed(events) if isinstance(event, Saved | Restored)), newest
    )
    words = f"{ended.outcome} at step {ended.step}"
    if ended.step == (newest or 0):
        return RequestAnswer(ended.outcome != "failed", words, ended.step)
    left = (
        f"the newest checkpoint is of step {newest}"
        if newest is not None
        else "there is no checkpoint"
    )
    # An attempt that ended by itself has answered, even if its launcher passed the request on. One
    # that an exception ended may never have read the request.
    received = ended.outcome != "failed"
    return RequestAnswer(
        False, f"{words}, which was not saved; {left}", ended.step, received=received
    )
