"""Decides which points are stale: written after the state from which a run resumed. Pure.

It uses only the events of a journal. Times are compared only within an attempt, so the clocks of
machines may differ. For the attempt that saved the restored checkpoint, and for each attempt that
led to it, points after the snapshot are stale. For all other attempts, all points are stale.

A process may train several runs, and in containers many processes have the same host and number. So
a point from before or after an attempt belongs to no attempt, and is kept. Runs that one process
trains at the same time cannot be distinguished, so each needs its own directory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ckptkit.layout import CheckpointName
from ckptkit.run import events
from ckptkit.run.fresh_start import this_life

_UNRECORDED_SECS = 180.0
"""Seconds for which a killed attempt may have run after its last line in the journal.

Progress is recorded once a minute.
"""

Span = tuple[float, float]


@dataclass(frozen=True)
class WriterAttempt:
    """An attempt that wrote event files, with the times at which its points count.

    Args:
        attempt: its number.
        host: its machine.
        pid: the number of its process; several attempts and other programs may have the same
            number.
        started: when it opened the run, by its own clock.
        until: points after this time are stale; infinity if no point is stale, minus infinity if
            all are.
        ended: when it closed the run, by its own clock; for a killed attempt, the latest possible
            time. Infinite while it runs.
        gone: the spans of time whose points are stale because it restored an earlier checkpoint
            itself.
    """

    attempt: int
    host: str
    pid: int
    started: float
    until: float = math.inf
    ended: float = math.inf
    gone: tuple[Span, ...] = ()

    def is_gone(self, wall_time: float) -> bool:
        """Return whether the attempt has discarded a moment by restoring an earlier checkpoint.

        Args:
            wall_time: the time of a point, in seconds since the epoch.
        """
        return any(begin < wall_time < end for begin, end in self.gone)


@dataclass(frozen=True)
class RestorePoint:
    """The checkpoint from which a run resumes.

    Args:
        name: the name of the checkpoint.
        taken_at: when its snapshot was taken, by the clock of its attempt.
        final: whether training had ended there. Later points of its program are kept, unless it
            trained again.
    """

    name: CheckpointName
    taken_at: float
    final: bool = False


def writer_attempts(
    journal: Sequence[events.Event], restored: RestorePoint | None
) -> list[WriterAttempt]:
    """Return all attempts of a run, with the time until which each one counts.

    Points from before the last fresh start are never stale, because they belong to other trainings.

    Args:
        journal: all events, including those of the current attempt.
        restored: the checkpoint from which the run resumes, or None if it starts at step 0.

    Returns:
        The attempts, oldest first; the last one is the current attempt.
    """
    life = this_life(journal)
    ancestry = _ancestry(life, restored)
    trained = {event.attempt for event in life if isinstance(event, events.TrainingStarted)}
    starts = sorted(
        (event for event in journal if isinstance(event, events.AttemptStarted)),
        key=lambda event: event.attempt,
    )
    # An attempt that did not train has written no stale points.
    led_nowhere = trained - {starts[-1].attempt} if starts else set()
    ends = _ends(journal, starts)
    return [
        WriterAttempt(
            event.attempt,
            event.host,
            event.pid,
            event.time,
            ancestry.until.get(
                event.attempt, -math.inf if event.attempt in led_nowhere else math.inf
            ),
            ends[event.attempt],
            tuple(ancestry.gone.get(event.attempt, ())),
        )
        for event in starts
    ]


def _ends(
    journal: Sequence[events.Event], starts: Sequence[events.AttemptStarted]
) -> dict[int, float]:
    """Return the latest time at which each attempt may have ended.

    A killed attempt could not record its end.
    """
    last, ends = dict[int, float](), dict[int, float]()
    following = dict[
        str, events.AttemptStarted
    ]()  # grouped by host, because hosts have different clocks
    for event in journal:
        last[event.attempt] = max(event.time, last.get(event.attempt, -math.inf))
    for start in reversed(starts):
        later = following.get(start.host)
        ends[start.attempt] = (
            last[start.attempt] + _UNRECORDED_SECS if start is not starts[-1] else math.inf
        )
        if later is not None and later.time > start.time:
            ends[start.attempt] = min(ends[start.attempt], later.time)
        following[start.host] = start
    return ends | {
        event.attempt: event.time for event in journal if isinstance(event, events.AttemptEnded)
    }


@dataclass(frozen=True)
class _Ancestry:
    """The attempts that led to a checkpoint.

    Args:
        until: for each attempt, the time until which its training counts.
        gone: for each attempt, the spans of time that it discarded by restoring an earlier
            checkpoint.
    """

    until: dict[int, float] = field(default_factory=dict)
    gone: dict[int, list[Span]] = field(default_factory=lambda: defaultdict(list))


def _ancestry(life: Sequence[events.Event], restored: RestorePoint | None) -> _Ancestry:
    """Return the attempts that led to a checkpoint; each one's restore names the one before."""
    ancestry, seen = _Ancestry(), set[CheckpointName]()
    if restored is None:
        return ancestry
    name, moment = (
        restored.name,
        _after_the_end(life, restored.name) if restored.final else restored.taken_at,
    )
    # A damaged journal may name two checkpoints as each other's parents.
    while name not in seen:
        seen.add(name)
        ancestry.until.setdefault(name.attempt, moment)
        restored_event = _restored_before_saving(life, name)
        parent = (
            CheckpointName.parse(restored_event.checkpoint) if restored_event is not None else None
        )
        if restored_event is None or parent is None:
            # An attempt starts at step 0 only if no earlier attempt has saved. If one has, lines of
            # the journal are missing, and its points are kept.
            if any(
                isinstance(event, events.Saved) and event.attempt < name.attempt for event in life
            ):
                ancestry.until.update(
                    {event.attempt: math.inf for event in life if event.attempt < name.attempt}
                )
            break
        moment = _taken_at(life, parent)
        begin = moment if parent.attempt == name.attempt else _trained_before(life, restored_event)
        if begin < restored_event.time:
            ancestry.gone[name.attempt].append((begin, restored_event.time))
        name = parent
    return ancestry


def _restored_before_saving(
    life: Sequence[events.Event], name: CheckpointName
) -> events.Restored | None:
    """Return the restore that came before a save in the same attempt."""
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


def _trained_before(life: Sequence[events.Event], restored_event: events.Restored) -> float:
    """Return when an attempt had begun to train before a restore; infinite if it had not."""
    for event in life:
        if event is restored_event:
            break
        if event.attempt == restored_event.attempt and isinstance(event, events.TrainingStarted):
            return event.time
    return math.inf


def _taken_at(life: Sequence[events.Event], name: CheckpointName) -> float:
    """Return when the snapshot of a checkpoint was taken, even if it is deleted by now."""
    for event in reversed(life):
        if isinstance(event, events.Saved) and event.checkpoint == str(name):
            if event.final:
                return _after_the_end(life, name)
            # The first versions did not record the time.
            return event.taken_at or event.time - event.write_secs - event.snapshot_secs
    return math.inf


def _after_the_end(life: Sequence[events.Event], name: CheckpointName) -> float:
    """Return the time until which an attempt counts that saved the end of a training.

    It is infinite, unless the attempt trained again.
    """
    ended = False
    for event in life:
        if event.attempt == name.attempt:
            if ended and isinstance(event, events.TrainingStarted):
                return event.time
            ended = ended or (isinstance(event, events.Saved) and event.checkpoint == str(name))
    return math.inf


def newest_repairing_attempt(
    journal: Sequence[events.Event], directory: str, restored: RestorePoint | None
) -> int:
    """Return the newest attempt that has repaired all earlier event files, or 0.

    The files of earlier attempts need not be read again. The attempt must have led to the restored
    checkpoint and must have trained. An attempt that resumed from the end of a training does not
    count, because it has left no mark.

    Args:
        journal: all events.
        directory: the directory with event files, as recorded in the journal.
        restored: the checkpoint from which the run resumes, or None if it starts at step 0.
    """
    life = this_life(journal)
    ancestry = _ancestry(life, restored)
    finals = {event.step for event in life if isinstance(event, events.Saved) and event.final}
    return max(
        (
            event.attempt
            for event in life
            if isinstance(event, events.LogsRepaired)
            and event.directory == directory
            and not event.left
            and event.attempt in ancestry.until
            and event.step not in finals
        ),
        default=0,
    )


def owner_at(candidates: Sequence[WriterAttempt], wall_time: float) -> WriterAttempt | None:
    """Return which attempt of a process was running at a time, or None.

    None means that the process did something else then, or that another process had the same
    number.

    Args:
        candidates: the attempts, oldest first.
        wall_time: the time, in seconds since the epoch.
    """
    newest = next((writer for writer in reversed(candidates) if writer.started <= wall_time), None)
    return newest if newest is not None and wall_time <= newest.ended else None
