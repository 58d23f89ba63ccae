"""What a report draws of attempts: a part of its document (`document.py`). Forms only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What an attempt did for a while.

    Args:
        kind: `start_up` (until its first step, without the next), `restore`, `training`, `lost`
            (training whose steps do not count any more) or `ending` (after its last word of
            training, as an export).
        began, ended: when.
    """

    kind: Literal["start_up", "restore", "training", "lost", "ending"]
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class DrawnMark:
    """A moment, or, where there are very many saves, several of them in a row.

    Args:
        kind: as in `ckptkit.report.attempt_ledger.Mark`; of the run `rolled_back`, `set_aside`,
            `taken_over`, `pruned`.
        at: when.
        words: what happened.
        step: where the run was, or None.
        checkpoint: its name, or empty.
        count: how many it stands for.
        until: when the last of them was.
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
    """One process's life with the run; see `ckptkit.report.attempt_ledger.Attempt`.

    Args:
        number: from 1; commands use a number up as well, so some are missing.
        life: of the run, from 1: each fresh start begins another one.
        host: where it ran.
        pid: the number of its process there.
        program: the script's name.
        versions: of Python, TensorFlow and others.
        scheduler: what Slurm says of the job, or empty.
        began: when its process was started, as far as that is known; else when it opened the run.
        ended: of one that still goes on, the moment when this was made; of one that left no word,
            its last sign of life.
        is_open: whether it still goes on, as far as that is known.
        outcome: `training`, `finished`, `preempted`, `stopped`, `failed`, `dead` or `unknown`.
        cause: the same in words.
        resumed_from: the name of a checkpoint, or null where it began at step 0.
        first_step: where it went on; its first own step is the one after this.
        last_step: the last step that it is known to have done.
        steps_done: the difference of both.
        steps_lost: those of them that are not part of the run any more.
        steps_redone: those of them that an earlier attempt had done, too.
        saves: how many checkpoints it has committed.
        saves_dropped: snapshots that were not written.
        saves_failed: saves that could not be committed.
        stall_secs: how long training stood still for saves.
        restore_secs: how long it took to restore.
        phases: without gaps, in their order.
        marks: in the order of time.
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
    """From a checkpoint to an attempt that went on from it.

    Args:
        checkpoint: its name.
        step: its step.
        from_attempt: which wrote it.
        saved_at: when that was, or None where no journal tells.
        to_attempt: which went on.
        resumed_at: when its state was assigned.
    """

    checkpoint: str
    step: int
    from_attempt: int
    saved_at: float | None
    to_attempt: int
    resumed_at: float
