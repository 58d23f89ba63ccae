"""Which points of event files are orphans: written by an attempt after the state that a later one
went on from. Pure: from a journal's events.

An attempt is compared with its own clock only. Of the attempt that has saved the restored
checkpoint, and of each that led to it, what was written after the snapshot goes; of attempts that
led nowhere, everything; so clocks of different machines need not agree.

A process may train several runs, and in containers many processes have the same host and number. So
what was written before an attempt, or after it, is nobody's, and stays. Only of runs that one
process trains at the same time this cannot be told: each of them needs a directory of its own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ckptkit.layout import CheckpointName
from ckptkit.run import events
from ckptkit.run.fresh_start import this_life

_SILENT_SECS = 180.0
"""So long an attempt that was killed may have gone on after its last line in the journal: progress
is told once a minute.
"""

Span = tuple[float, float]


@dataclass(frozen=True)
class EventWriter:
    """An attempt, as the names of event files tell of it.

    Args:
        attempt: its number.
        host: where it ran.
        pid: its process there; attempts may share one, and others may have had the same number.
        started: when it opened the run, by its own clock.
        until: what it wrote later than that is no part of the run; infinite where all of it is, or
            none.
        ended: when it let go of the run, by its own clock; of one that was killed, by when it must
            have ended. Infinite where it is under way.
        gone: between which moments it wrote what is no part of the run, because it went back to a
            checkpoint.
    """

    attempt: int
    host: str
    pid: int
    started: float
    until: float = math.inf
    ended: float = math.inf
    gone: tuple[Span, ...] = ()

    def is_gone(self, wall_time: float) -> bool:
        """Whether it went back behind what it wrote then."""
        return any(begin < wall_time < end for begin, end in self.gone)


@dataclass(frozen=True)
class RestorePoint:
    """Where a run goes on.

    Args:
        name: of the checkpoint.
        taken_at: when its snapshot was taken, by the clock of its attempt.
        final: whether training had ended there: what its program has written after that is not
            trained again, unless it has trained on.
    """

    name: CheckpointName
    taken_at: float
    final: bool = False


def writers(told: Sequence[events.Event], restored: RestorePoint | None) -> list[EventWriter]:
    """All attempts of a run, and until when each of them counts. Of earlier lives nothing is an
    orphan: they are others' history.

    Args:
        told: the journal, the present attempt included.
        restored: where the run goes on, or None where it begins at step 0.

    Returns:
        Oldest first; the last is the present attempt.
    """
    life = this_life(told)
    line = _line(life, restored)
    trained = {event.attempt for event in life if isinstance(event, events.TrainingStarted)}
    starts = sorted(
        (event for event in told if isinstance(event, events.AttemptStarted)),
        key=lambda event: event.attempt,
    )
    led_nowhere = trained - {starts[-1].attempt} if starts else set()
    ends = _ends(told, starts)
    return [
        EventWriter(
            event.attempt,
            event.host,
            event.pid,
            event.time,
            line.until.get(event.attempt, -math.inf if event.attempt in led_nowhere else math.inf),
            ends[event.attempt],
            tuple(line.gone.get(event.attempt, ())),
        )
        for event in starts
    ]


def _ends(
    told: Sequence[events.Event], starts: Sequence[events.AttemptStarted]
) -> dict[int, float]:
    """When each attempt was over at the latest. One that was killed could not say so."""
    last, ends, following = (
        dict[int, float](),
        dict[int, float](),
        dict[str, events.AttemptStarted](),
    )
    for event in told:
        last[event.attempt] = max(event.time, last.get(event.attempt, -math.inf))
    for start in reversed(starts):
        later = following.get(start.host)  # one of another host has another clock
        ends[start.attempt] = (
            last[start.attempt] + _SILENT_SECS if start is not starts[-1] else math.inf
        )
        if later is not None and later.time > start.time:
            ends[start.attempt] = min(ends[start.attempt], later.time)
        following[start.host] = start
    return ends | {
        event.attempt: event.time for event in told if isinstance(event, events.AttemptEnded)
    }


@dataclass(frozen=True)
class _Line:
    """What led to a checkpoint.

    Args:
        until: of each attempt that did, the moment until which it did.
        gone: where such an attempt went back to a checkpoint, what it had written since then.
    """

    until: dict[int, float] = field(default_factory=dict)
    gone: dict[int, list[Span]] = field(default_factory=lambda: defaultdict(list))


def _line(life: Sequence[events.Event], restored: RestorePoint | None) -> _Line:
    """The attempts that led to a checkpoint."""
    line, seen = _Line(), set[CheckpointName]()
    if restored is None:
        return line
    name, moment = (
        restored.name,
        _after_the_end(life, restored.name) if restored.final else restored.taken_at,
    )
    while name not in seen:
        seen.add(name)
        line.until.setdefault(name.attempt, moment)
        back = _went_on_from(life, name)
        parent = CheckpointName.parse(back.checkpoint) if back is not None else None
        if back is None or parent is None:
            # An attempt begins at step 0 only where nobody has saved. Where one had, lines of the
            # journal are missing: nothing is taken from it.
            if any(
                isinstance(event, events.Saved) and event.attempt < name.attempt for event in life
            ):
                line.until.update(
                    {event.attempt: math.inf for event in life if event.attempt < name.attempt}
                )
            break
        moment = _taken_at(life, parent)
        begin = moment if parent.attempt == name.attempt else _trained_before(life, back)
        if begin < back.time:
            line.gone[name.attempt].append((begin, back.time))
        name = parent
    return line


def _went_on_from(life: Sequence[events.Event], name: CheckpointName) -> events.Restored | None:
    """Where the attempt had gone on that has saved a checkpoint."""
    before: events.Restored | None = None
    found: events.Restored | None = None
    saved = False
    for event in life:
        if event.attempt != name.attempt:
            continue
        if isinstance(event, events.Restored):
            before = event
        elif isinstance(event, events.Saved) and event.checkpoint == str(name):
            found, saved = before, True
    return found if saved else before


def _trained_before(life: Sequence[events.Event], back: events.Restored) -> float:
    """When its attempt had begun to train that went back to an earlier one's checkpoint; infinite
    where it had not, as usual.
    """
    for event in life:
        if event is back:
            break
        if event.attempt == back.attempt and isinstance(event, events.TrainingStarted):
            return event.time
    return math.inf


def _taken_at(life: Sequence[events.Event], name: CheckpointName) -> float:
    """When the snapshot of a checkpoint was taken that may be gone by now."""
    for event in reversed(life):
        if isinstance(event, events.Saved) and event.checkpoint == str(name):
            if event.final:
                return _after_the_end(life, name)
            return (
                event.taken_at or event.time - event.write_secs - event.snapshot_secs
            )  # the first ones did not tell
    return math.inf


def _after_the_end(life: Sequence[events.Event], name: CheckpointName) -> float:
    """Until when an attempt counts that has saved the end of a training: for good, unless it has
    trained on.
    """
    ended = False
    for event in life:
        if event.attempt == name.attempt:
            if ended and isinstance(event, events.TrainingStarted):
                return event.time
            ended = ended or (isinstance(event, events.Saved) and event.checkpoint == str(name))
    return math.inf


def settled_by(told: Sequence[events.Event], directory: str, restored: RestorePoint | None) -> int:
    """The newest attempt that has put the files of all before it in order, and led to the restored
    checkpoint: those need not be read again. 0 where none has. One that has trained nothing may
    have come from another checkpoint; one that went on from the end of a training has left no mark
    that tells which steps are there.
    """
    life = this_life(told)
    line = _line(life, restored)
    finals = {event.step for event in life if isinstance(event, events.Saved) and event.final}
    return max(
        (
            event.attempt
            for event in life
            if isinstance(event, events.LogsRepaired)
            and event.directory == directory
            and not event.left
            and event.attempt in line.until
            and event.step not in finals
        ),
        default=0,
    )


def owner(candidates: Sequence[EventWriter], wall_time: float) -> EventWriter | None:
    """Of several attempts of one process, the one that was under way at a moment. None where none
    was: then it did something else, or was another one with the same number.
    """
    newest = next((writer for writer in reversed(candidates) if writer.started <= wall_time), None)
    return newest if newest is not None and wall_time <= newest.ended else None
