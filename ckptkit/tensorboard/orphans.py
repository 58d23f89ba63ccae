"""Which points of event files are orphans: written by an attempt after the state that a later one went on from. Pure: from a journal's events.

An attempt is compared with its own clock only. Of the attempt that has saved the restored checkpoint, and of each that led to it, what was written
after the snapshot goes; of attempts that led nowhere, everything; so clocks of different machines need not agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ckptkit.store import events
from ckptkit.store.fresh import this_life
from ckptkit.store.layout import CheckpointName


@dataclass(frozen=True)
class Writer:
    """An attempt, as the names of event files tell of it.

    Args:
        attempt: its number.
        host: where it ran.
        pid: its process there; attempts may share one, and others may have had the same number.
        started: when it opened the run, by its own clock.
        until: what it wrote later than that is no part of the run; infinite where all of it is, or none.
        ended: when it let go of the run in an orderly way, by its own clock; infinite where nobody told.
    """

    attempt: int
    host: str
    pid: int
    started: float
    until: float = math.inf
    ended: float = math.inf


@dataclass(frozen=True)
class Restored:
    """Where a run goes on.

    Args:
        name: of the checkpoint.
        taken_at: when its snapshot was taken, by the clock of its attempt.
        final: whether training had ended there: what its program has written after that is not trained again, unless it has trained on.
    """

    name: CheckpointName
    taken_at: float
    final: bool = False


def writers(told: Sequence[events.Event], restored: Restored | None) -> list[Writer]:
    """All attempts of a run, and until when each of them counts. Of earlier lives nothing is an orphan: they are others' history.

    Args:
        told: the journal, the present attempt included.
        restored: where the run goes on, or None where it begins at step 0.

    Returns:
        Oldest first; the last is the present attempt.
    """
    life = this_life(told)
    line = _line(life, restored) if restored is not None else {}
    trained = {event.attempt for event in life if isinstance(event, events.TrainingStarted)}
    starts = sorted((event for event in told if isinstance(event, events.AttemptStarted)), key=lambda event: event.attempt)
    led_nowhere = trained - {starts[-1].attempt} if starts else set()
    ends = {event.attempt: event.time for event in told if isinstance(event, events.AttemptEnded)}
    return [Writer(event.attempt, event.host, event.pid, event.time,
                   line.get(event.attempt, -math.inf if event.attempt in led_nowhere else math.inf), ends.get(event.attempt, math.inf))
            for event in starts]


def _line(life: Sequence[events.Event], restored: Restored) -> dict[int, float]:
    """The attempts that led to a checkpoint, with the moments until which they did."""
    name, moment, line = restored.name, _after_the_end(life, restored.name) if restored.final else restored.taken_at, dict[int, float]()
    while name.attempt not in line:
        line[name.attempt] = moment
        parent = _went_on_from(life, name)
        if parent is None:
            # An attempt begins at step 0 only where nobody has saved. Where one had, lines of the journal are missing: nothing is taken from it.
            if any(isinstance(event, events.Saved) and event.attempt < name.attempt for event in life):
                line.update({event.attempt: math.inf for event in life if event.attempt < name.attempt})
            break
        name, moment = parent, _taken_at(life, parent)
    return line


def _went_on_from(life: Sequence[events.Event], name: CheckpointName) -> CheckpointName | None:
    """Where the attempt had gone on that has saved a checkpoint."""
    before = None
    for event in life:
        if event.attempt != name.attempt:
            continue
        if isinstance(event, events.Restored):
            before = CheckpointName.parse(event.checkpoint)
        elif isinstance(event, events.Saved) and event.checkpoint == str(name):
            break
    return before


def _taken_at(life: Sequence[events.Event], name: CheckpointName) -> float:
    """When the snapshot of a checkpoint was taken that may be gone by now."""
    for event in reversed(life):
        if isinstance(event, events.Saved) and event.checkpoint == str(name):
            if event.final:
                return _after_the_end(life, name)
            return event.taken_at or event.time - event.write_secs - event.snapshot_secs  # the first ones did not tell
    return math.inf


def _after_the_end(life: Sequence[events.Event], name: CheckpointName) -> float:
    """Until when an attempt counts that has saved the end of a training: for good, unless it has trained on."""
    ended = False
    for event in life:
        if event.attempt == name.attempt:
            if ended and isinstance(event, events.TrainingStarted):
                return event.time
            ended = ended or (isinstance(event, events.Saved) and event.checkpoint == str(name))
    return math.inf


def settled_by(told: Sequence[events.Event], directory: str, restored: Restored | None) -> int:
    """The newest attempt that has put the files of all before it in order, and led to the restored checkpoint: those need not be read again. 0 where
    none has. One that has trained nothing may have come from another checkpoint.
    """
    life = this_life(told)
    line = _line(life, restored) if restored is not None else {}
    return max((event.attempt for event in life if isinstance(event, events.LogsRepaired) and event.directory == directory
                and not event.left and event.attempt in line), default=0)


def owner(candidates: Sequence[Writer], wall_time: float) -> Writer:
    """Of several attempts of one process, the one that was under way; between two of them the later one, for which a program opens its files."""
    for writer in candidates:
        if wall_time <= writer.ended and all(wall_time < later.started for later in candidates if later.attempt > writer.attempt):
            return writer
    return candidates[-1]
