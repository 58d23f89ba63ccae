"""The part of a report's document about attempts (see `document.py`). Types only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A period of an attempt.

    Args:
        kind: `start_up` (until its first step, except restoring), `restore`, `training`, `lost`
            (training whose steps no longer count) or `ending` (after training, such as an export).
        began, ended: its ends.
    """

    kind: Literal["start_up", "restore", "training", "lost", "ending"]
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class DrawnMark:
    """A moment on the time axis, or several consecutive saves in a run with very many.

    Args:
        kind: as in `ckptkit.report.event_annotations.Annotation`, or `stalled`. In the row of the
            run itself `rolled_back` or `set_aside`.
        at: the time.
        words: what happened.
        step: the step of the run, or None.
        checkpoint: the name of the checkpoint that it concerns, or empty.
        count: how many moments it stands for.
        until: the time of the last of them, or None for one.
    """

    kind: str
    at: float
    words: str
    step: int | None = None
    checkpoint: str = ""
    count: int = 1
    until: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """What one process did with the run; see `ckptkit.report.attempt_ledger.Attempt`.

    Args:
        number: from 1; some are missing, because commands use up numbers as well.
        life: the life of the run, from 1; each fresh start begins another one.
        host: the machine where it ran.
        pid: the number of its process there.
        program: the script's name.
        versions: the versions of Python, TensorFlow and other packages.
        scheduler: what Slurm reports about the job, or empty.
        began: when its process was started if known; else when it opened the run.
        ended: its end; when the report was made if it still runs; its last sign of life if it
            recorded no end.
        is_open: whether it still runs, if that is known.
        outcome: `training`, `finished`, `preempted`, `stopped`, `failed`, `dead` or `unknown`.
        cause: the outcome in words.
        resumed_from: the name of a checkpoint, or null if it began at step 0.
        first_step: the step from which it started; its own first step is the next one.
        last_step: the last step that it provably finished.
        steps_done: the difference between `last_step` and `first_step`.
        steps_lost: those of them that no longer count.
        steps_redone: those of them that an earlier attempt had also done.
        saves: the number of checkpoints that it committed.
        saves_dropped: snapshots that were not written.
        saves_failed: saves that could not be committed.
        stall_secs: how long training stood still for saves.
        restore_secs: how long restoring took.
        phases: what it did, in order and without gaps.
        marks: its marks, in the order of time.
    """

    number: int
    life: int
    host: str
    pid: int
    program: str
    versions: Mapping[str, str]
    scheduler: Mapping[str, str]
    began: float
    ended: float
    is_open: bool
    outcome: str
    cause: str
    resumed_from: str | None
    first_step: int
    last_step: int
    steps_done: int
    steps_lost: int
    steps_redone: int
    saves: int
    saves_dropped: int
    saves_failed: int
    stall_secs: float
    restore_secs: float
    phases: tuple[Phase, ...]
    marks: tuple[DrawnMark, ...]


@dataclass(frozen=True, kw_only=True)
class ResumeLink:
    """A link from a checkpoint to an attempt that resumed from it.

    Args:
        checkpoint: the name of the checkpoint.
        step: its step.
        from_attempt: the attempt that wrote it.
        saved_at: when it was committed, or None if no journal records that.
        to_attempt: the attempt that resumed from it.
        resumed_at: when its state was assigned.
    """

    checkpoint: str
    step: int
    from_attempt: int
    saved_at: float | None
    to_attempt: int
    resumed_at: float
