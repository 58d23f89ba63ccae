"""The ledger of a run: an entry for each attempt, with its work, its end, and what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ckptkit.report.attempt_events import AttemptEvents
from ckptkit.report.clamp_time import moment
from ckptkit.report.event_annotations import Annotation, annotations_of
from ckptkit.run.events import (
    AttemptEnded,
    Event,
    Failed,
    Finished,
    Progressed,
    Saved,
    TrainingStarted,
)

__all__ = ["Attempt", "Ledger", "ResumePoint", "StepStretch"]


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """The checkpoint from which an attempt resumed.

    Args:
        checkpoint: its name, such as `ckpt-600-2`.
        step: its step.
        time: when its state was assigned, in seconds since the epoch.
        secs: how long reading and assigning took.
    """

    checkpoint: str
    step: int
    time: float
    secs: float


@dataclass(frozen=True, kw_only=True)
class StepStretch:
    """Consecutive steps in one process; each restore begins another stretch.

    Args:
        first: the step from which it started; its own first step is the next one.
        last: the last step that it provably finished.
        kept: the last of its steps that still counts; a later stretch resumed, or has to resume,
            from here.
        redone: how many of its steps an earlier stretch had also done.
        since: when it began, in seconds since the epoch.
        trained_at: when its first step began, or None without a step.
        along: the events that mention its steps, in the order in which they were written.
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
        """Whether the stretch has begun a step."""
        return self.trained_at is not None or self.last > self.first

    def at(self, step: int) -> float:
        """Return when a step ended, in seconds since the epoch.

        The time is that of the last event that names this step. Between two events it is
        interpolated.
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
        """Yield moments with the latest step at each, newest first."""
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
    """What one process did with the run. Text from the journal may contain any character.

    Args:
        number: from 1; some are missing, because commands such as `prune` use up numbers as well.
        life: the life of the run, from 1; each fresh start (`fresh="label"`) begins another one.
        host: the machine where it ran.
        pid: the number of its process there.
        program: the script's name.
        versions: the versions of Python, TensorFlow and other packages.
        scheduler: what Slurm reports about the job, or empty.
        start: when it opened the run, in seconds since the epoch.
        began: when its process was started if known; else `start`.
        end: when it ended; the last sign of life if it recorded no end. None if its process still
            runs, or if that is unknown.
        last_sign: the time of its last sign of life.
        outcome: `training`, `finished`, `preempted`, `stopped`, `failed`, `dead` (it was killed and
            recorded no end) or `unknown` (it is on another machine and recorded no end).
        cause: the outcome in words, with the cause of death if known.
        resumed_from: the checkpoint, or None if it began at step 0.
        trained_at: when its first step began, or None without a step.
        first_step: the step from which it started; its own first step is the next one.
        last_step: the last step that it provably finished.
        steps_done: the difference between `last_step` and `first_step`.
        steps_lost: those of them that no longer count: a later attempt resumed, or has to resume,
            from an earlier step.
        steps_redone: those of them that an earlier attempt had also done.
        saves: the number of checkpoints that it committed.
        saved_bytes: their size.
        saves_dropped: snapshots that were not written, because a newer one replaced them.
        saves_failed: saves that could not be committed.
        stall_secs: how long training stood still for saves.
        restore_secs: how long restoring took.
        signals: the names of the signals that it received.
        notices: the sources that announced the end of the machine.
        stretches: its steps; more than one stretch if the program restored again.
        wanted: whether its end was intended; if so, the time until the next start is no lost time.
        hung_at: its last progress if its launcher ended it for a hang; else None.
        own: the events that it recorded, grouped by kind.
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
    resumed_from: ResumePoint | None = None
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
    stretches: tuple[StepStretch, ...] = ()
    wanted: bool = False
    hung_at: float | None = None
    own: AttemptEvents = field(default_factory=lambda: AttemptEvents(()), repr=False, compare=False)

    @property
    def goes_on(self) -> bool:
        """Whether the process of the attempt still runs."""
        return self.end is None and self.outcome != "unknown"

    @property
    def left_no_word(self) -> bool:
        """Whether the attempt was killed in training, perhaps after more steps than recorded."""
        return self.outcome == "dead" and (self.trained_at is not None or self.steps_done > 0)

    @property
    def last_moment(self) -> float:
        """When the attempt ended, or its last sign of life if its process still runs."""
        return self.last_sign if self.end is None else self.end

    @property
    def marks(self) -> tuple[Annotation, ...]:
        """The annotations of its events in journal order; the last one is its end."""
        return annotations_of(self.own.events, self.outcome, self.cause, self.end)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All attempts of a run.

    Args:
        attempts: the attempts of all lives, by their numbers.
        now: when the ledger was made, in seconds since the epoch.
    """

    attempts: tuple[Attempt, ...]
    now: float

    @property
    def life(self) -> int:
        """The number of the current life; 1 if there was no fresh start."""
        return max((attempt.life for attempt in self.attempts), default=1)

    @property
    def this_life(self) -> tuple[Attempt, ...]:
        """The attempts since the last fresh start."""
        return tuple(attempt for attempt in self.attempts if attempt.life == self.life)

    @property
    def steps_lost(self) -> int:
        """The number of steps since the last fresh start that were done and no longer count."""
        return sum(attempt.steps_lost for attempt in self.this_life)
