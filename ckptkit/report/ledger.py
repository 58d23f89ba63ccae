"""The ledger of a run: one entry for each attempt, with what it did, how it ended, and what of it
was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ckptkit.report.annotations import Annotation, marks_of
from ckptkit.report.attempt_events import AttemptEvents
from ckptkit.report.clamp_time import moment
from ckptkit.run.events import (
    AttemptEnded,
    Event,
    Failed,
    Finished,
    Progressed,
    Saved,
    TrainingStarted,
)

__all__ = ["Attempt", "Ledger", "Resumed", "Stretch"]


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """Where an attempt went on.

    Args:
        checkpoint: the name of the checkpoint, as `ckpt-600-2`.
        step: its step.
        time: when its state was assigned, in seconds since the epoch.
        secs: how long reading and assigning it took.
    """

    checkpoint: str
    step: int
    time: float
    secs: float


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Steps that follow one another in one process; each restore begins another stretch.

    Args:
        first: where it went on; its first own step is the one after this.
        last: the last step that it is known to have done.
        kept: up to here its steps are part of the run; a later stretch went on from before the
            others, or would have to.
        redone: how many of its steps had been done before.
        since: when it began, in seconds since the epoch.
        trained_at: when its first step began, or None where it made none.
        along: the events that name a step of it, as they were written.
    """

    first: int
    last: int
    kept: int
    redone: int
    since: float
    trained_at: float | None
    along: Sequence[Event] = field(default=(), repr=False, compare=False)

    @property
    def has_trained(self) -> bool:
        """Whether it has begun a step."""
        return self.trained_at is not None or self.last > self.first

    def at(self, step: int) -> float:
        """When a step was over, in seconds since the epoch: the last moment at which it is known to
        have been the last one, or between what is known around it.
        """
        later: tuple[float, int] | None = None
        for time, reached in self._moments():
            if reached <= step:
                if reached == step or later is None:
                    return time
                return time + max(0.0, later[0] - time) * ((step - reached) / (later[1] - reached))
            later = time, reached
        return self.since

    def _moments(self) -> Iterator[tuple[float, int]]:
        """Moments, and the step that was the last one then; the newest first."""
        for event in reversed(self.along):
            if isinstance(event, Saved):
                yield (
                    moment(
                        event.time - event.write_secs if event.taken_at is None else event.taken_at
                    ),
                    event.step,
                )
            elif isinstance(event, TrainingStarted | Progressed | Failed | Finished | AttemptEnded):
                yield moment(event.time), event.step
        yield self.since, self.first


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One process's life with the run. Text from the journal is as it is there: it may hold any
    character.

    Args:
        number: from 1; commands such as `prune` use a number up as well, so some are missing.
        life: of the run, from 1: each fresh start (`fresh="label"`) begins another one.
        host: where it ran.
        pid: the number of its process there.
        program: the script's name.
        versions: of Python, TensorFlow and others.
        scheduler: what Slurm says of the job, or empty.
        start: when it opened the run, in seconds since the epoch.
        began: when its process was started, as far as that is known; else `start`.
        end: when it ended, or None while its process runs, and where nobody knows. Of one that left
            no word it is the last sign of life.
        last_sign: when it was last heard of.
        outcome: `training`, `finished`, `preempted`, `stopped`, `failed`, `dead` (it was killed and
            left no word) or `unknown` (it is on another machine and has told of no end).
        cause: the same in words, with the cause of death as far as it is known.
        resumed_from: the checkpoint, or None where it began at step 0.
        trained_at: when its first step began, or None where it made none.
        first_step: where it went on; its first own step is the one after this.
        last_step: the last step that it is known to have done.
        steps_done: the difference of both.
        steps_lost: those of them that are not part of the run any more: a later attempt went on
            from before them, or would have to.
        steps_redone: those of them that an earlier attempt had done, too.
        saves: how many checkpoints it has committed.
        saved_bytes: their size.
        saves_dropped: snapshots that were not written, because a newer one took their place.
        saves_failed: saves that could not be committed.
        stall_secs: how long training stood still for saves.
        restore_secs: how long it took to restore.
        signals: the names of those that it got.
        notices: who said that the machine goes away.
        stretches: its steps; more than one where the program restored again.
        wanted: whether its end was somebody's wish, so that what follows is no recovery.
        hung_at: when it had got on for the last time, where its launcher ended it for that; or
            None.
        own: its own lines of the journal, by their kind.
    """

    number: int
    life: int = 1
    host: str
    pid: int
    program: str
    versions: Mapping[str, str] = field(default_factory=dict)
    scheduler: Mapping[str, str] = field(default_factory=dict)
    start: float
    began: float
    end: float | None
    last_sign: float
    outcome: str
    cause: str
    resumed_from: Resumed | None = None
    trained_at: float | None = None
    first_step: int = 0
    last_step: int = 0
    steps_done: int = 0
    steps_lost: int = 0
    steps_redone: int = 0
    saves: int = 0
    saved_bytes: int = 0
    saves_dropped: int = 0
    saves_failed: int = 0
    stall_secs: float = 0.0
    restore_secs: float = 0.0
    signals: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    wanted: bool = False
    hung_at: float | None = None
    own: AttemptEvents = field(default_factory=lambda: AttemptEvents(()), repr=False, compare=False)

    @property
    def goes_on(self) -> bool:
        """Whether its process still runs."""
        return self.end is None and self.outcome != "unknown"

    @property
    def left_no_word(self) -> bool:
        """Whether it has trained and was killed, so that it may have done more steps than known."""
        return self.outcome == "dead" and (self.trained_at is not None or self.steps_done > 0)

    @property
    def last_moment(self) -> float:
        """Its end, as far as it is known: the last sign of life of one that still goes on."""
        return self.last_sign if self.end is None else self.end

    @property
    def marks(self) -> tuple[Annotation, ...]:
        """What happened in it, in the order of its journal, with its end as the last."""
        return marks_of(self.own.events, self.outcome, self.cause, self.end)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All attempts of a run.

    Args:
        attempts: by their numbers, those of earlier lives among them.
        now: when it was made, in seconds since the epoch.
    """

    attempts: tuple[Attempt, ...]
    now: float

    @property
    def life(self) -> int:
        """The number of the present life; 1 where nothing was ever set aside."""
        return max((attempt.life for attempt in self.attempts), default=1)

    @property
    def this_life(self) -> tuple[Attempt, ...]:
        """The attempts since the last fresh start."""
        return tuple(attempt for attempt in self.attempts if attempt.life == self.life)

    @property
    def steps_lost(self) -> int:
        """Steps of this life that were done, and are not part of the run any more."""
        return sum(attempt.steps_lost for attempt in self.this_life)
