"""Which points of event files are stale: written after the state from which a run resumed.

Pure: from the events of a journal. Times are compared with the same attempt's clock only, so the
clocks of different machines need not agree. Of the attempt that saved the restored checkpoint, and
of each attempt that led to it, points after the snapshot are stale. Of attempts that led nowhere,
all are.

A process may train several runs, and in containers many processes have the same host and number. So
a point from before or after an attempt belongs to nobody, and stays. Runs that one process trains
at the same time cannot be told apart: each of them needs a directory of its own.
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
"""How long a killed attempt may have run after its last line in the journal.

Progress is recorded once a minute.
"""

Span = tuple[float, float]


@dataclass(frozen=True)
class WriterAttempt:
    """An attempt as a writer of event files, whose names have its host and process.

    Args:
        attempt: its number.
        host: where it ran.
        pid: its process there; attempts may share one, and other programs may have had the same
            number.
        started: when it opened the run, by its own clock.
        until: points after this time are stale; infinity if none is, minus infinity if all are.
        ended: when it closed the run, by its own clock; for a killed one, by when it must have
            ended. Infinite while it runs.
        gone: spans of time whose points are stale because it went back to a checkpoint itself.
    """

    attempt: int
    host: str
    pid: int
    started: float
    until: float = math.inf
    ended: float = math.inf
    gone: tuple[Span, ...] = ()

    def is_gone(self, wall_time: float) -> bool:
        """Whether the attempt went back to a checkpoint from before this time.

        Args:
            wall_time: when a point was written, in seconds since the epoch.
        """
        return any(begin < wall_time < end for begin, end in self.gone)


@dataclass(frozen=True)
class RestorePoint:
    """The checkpoint that a run resumes from.

    Args:
        name: the name of the checkpoint.
        taken_at: when its snapshot was taken, by the clock of its attempt.
        final: whether training had ended there. What its program wrote later stays, unless it
            trained again.
    """

    name: CheckpointName
    taken_at: float
    final: bool = False


def writer_attempts(
    journal: Sequence[events.Event], restored: RestorePoint | None
) -> list[WriterAttempt]:
    """Return all attempts of a run, with the time until which each one counts.

    In earlier lives nothing is stale: they are the history of other trainings.

    Args:
        journal: all events, with the present attempt's.
        restored: the checkpoint that the run resumes from, or None if it starts at step 0.

    Returns:
        Oldest first; the last one is the present attempt.
    """
    life = this_life(journal)
    ancestry = _ancestry(life, restored)
    trained = {event.attempt for event in life if isinstance(event, events.TrainingStarted)}
    starts = sorted(
        (event for event in journal if isinstance(event, events.AttemptStarted)),
        key=lambda event: event.attempt,
    )
    # An attempt that did not train has written nothing that could be stale.
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
    """Return by when each attempt had ended; a killed one could not record it."""
    last, ends = dict[int, float](), dict[int, float]()
    following = dict[str, events.AttemptStarted]()  # by host: other hosts have other clocks
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
        until: for each of them, the time until which it did.
        gone: for each of them, spans of time that it discarded by going back to a checkpoint.
    """

    until: dict[int, float] = field(default_factory=dict)
    gone: dict[int, list[Span]] = field(default_factory=lambda: defaultdict(list))


def _ancestry(life: Sequence[events.Event], restored: RestorePoint | None) -> _Ancestry:
    """Return the attempts that led to a checkpoint, from restore to restore back to step 0."""
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
            # An attempt starts at step 0 only if no attempt has saved before. If one had, lines of
            # the journal are missing, and its points stay.
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
    """Return the restore from which the attempt continued that saved a checkpoint."""
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
    """Return when the attempt of a restore had begun to train before it; infinite if it had not."""
    for event in life:
        if event is restored_event:
            break
        if event.attempt == restored_event.attempt and isinstance(event, events.TrainingStarted):
            return event.time
    return math.inf


def _taken_at(life: Sequence[events.Event], name: CheckpointName) -> float:
    """Return when the snapshot of a checkpoint was taken, which may have been deleted since."""
    for event in reversed(life):
        if isinstance(event, events.Saved) and event.checkpoint == str(name):
            if event.final:
                return _after_the_end(life, name)
            # The first versions did not record the time.
            return event.taken_at or event.time - event.write_secs - event.snapshot_secs
    return math.inf


def _after_the_end(life: Sequence[events.Event], name: CheckpointName) -> float:
    """Return until when an attempt counts that saved the end of a training.

    That is for good, unless it trained again.
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
    """Return the newest attempt after which the files of earlier ones need not be read again, or 0.

    It has repaired all of them, and it led to the restored checkpoint. An attempt that did not
    train may have come from another checkpoint, so it does not count. Nor does one that resumed
    from the end of a training: it has left no mark with the steps of its files.

    Args:
        journal: all events.
        directory: with event files, as recorded in the journal.
        restored: the checkpoint that the run resumes from, or None if it starts at step 0.
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
    """Return which of several attempts of one process was running at a time, or None.

    None means that the process did something else then, or was another one with the same number.

    Args:
        candidates: the attempts, oldest first.
        wall_time: in seconds since the epoch.
    """
    newest = next((writer for writer in reversed(candidates) if writer.started <= wall_time), None)
    return newest if newest is not None and wall_time <= newest.ended else None
