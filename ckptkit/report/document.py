"""The one document that a report is drawn from, and that `ckptkit report --json` prints. Forms only; `docs/schemas/report.json` is its schema.

Text from journals, manifests and names is in it as it was found: it may hold any character, and whoever shows it shows it as text.
Times are seconds since the epoch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ckptkit.store.manifest import Number

DOCUMENT_VERSION = 1
"""Under it fields may be added; those that are here keep their names and meanings."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Which run, and how it is.

    Args:
        name: of its directory.
        directory: as it was named.
        state: one word, as in `ckptkit list`.
        words: the same for people.
        life: the number of the present life; each fresh start begins another one.
    """

    name: str
    directory: str
    state: str
    words: str
    life: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the wall time.

    Args:
        kind: `productive`, or a name of `ckptkit.report.goodput.KINDS`.
        words: what that is.
        secs: how long.
    """

    kind: str
    words: str
    secs: float


@dataclass(frozen=True, kw_only=True)
class WallTime:
    """Where the wall time of the present life went.

    Args:
        began, ended: its ends; None where nothing has begun.
        secs: the difference; the parts sum to it.
        ratio: goodput, from 0 to 1; None where no time has passed.
        parts: the productive one first.
    """

    began: float | None
    ended: float | None
    secs: float
    ratio: float | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The figures that are looked at first.

    Args:
        attempts: of the present life.
        endings: how many of them ended how, by the word.
        newest_good: name of the newest checkpoint that is good, or None.
        steps_lost, lost_secs: work that is not part of the run any more, and what it took.
        saves: how many checkpoints were committed in this life.
        stall_secs: how long training stood still for them.
        checkpoints: how many are there now.
        size_bytes: of everything in the run directory.
    """

    attempts: int
    endings: Mapping[str, int]
    newest_good: str | None
    steps_lost: int
    lost_secs: float
    saves: int
    stall_secs: float
    checkpoints: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What an attempt did for a while.

    Args:
        kind: `start_up` (until its first step, without the next), `restore`, `training`, `lost` (training whose steps do not count any more) or
            `ending` (after its last word of training, as an export).
        began, ended: when.
    """

    kind: Literal["start_up", "restore", "training", "lost", "ending"]
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class DrawnMark:
    """A moment, or, where there are very many saves, several of them in a row.

    Args:
        kind: as in `ckptkit.report.ledger.Mark`; of the run `rolled_back`, `set_aside`, `taken_over`, `pruned`.
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
    """One process's life with the run; see `ckptkit.report.ledger.Attempt`.

    Args:
        number: from 1; commands use a number up as well, so some are missing.
        life: of the run, from 1: each fresh start begins another one.
        host: where it ran.
        pid: the number of its process there.
        program: the script's name.
        versions: of Python, TensorFlow and others.
        scheduler: what Slurm says of the job, or empty.
        began: when its process was started, as far as that is known; else when it opened the run.
        ended: of one that still goes on, the moment when this was made; of one that left no word, its last sign of life.
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
class Link:
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


@dataclass(frozen=True, kw_only=True)
class PinNote:
    """That a checkpoint is pinned: since when (0 where that is not known), and why."""

    pinned_at: float
    note: str


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """A checkpoint that is there, or was.

    Args:
        name, step, attempt: which.
        status: `good`, `damaged`, `quarantined`, `set_aside`, `taken_away` or `gone` (nobody told why).
        words: what is wrong with it, or why it is not there; empty where it is good.
        is_there: whether it can be resumed from, but for what is wrong with it.
        final: whether it is the state at the end of training.
        pinned: or None.
        epoch, batch, saved_at, size_bytes: None where neither it nor a journal tells.
        metrics: what was measured at its position.
        trigger: why it was saved.
        resumed_by: the numbers of the attempts that went on from it.
    """

    name: str
    step: int
    attempt: int
    status: Literal["good", "damaged", "quarantined", "set_aside", "taken_away", "gone"]
    words: str
    is_there: bool
    final: bool = False
    pinned: PinNote | None = None
    epoch: int | None = None
    batch: int | None = None
    saved_at: float | None = None
    size_bytes: int | None = None
    metrics: Mapping[str, Number] = field(default_factory=dict)
    trigger: str = ""
    resumed_by: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Spell:
    """A value, and the numbers of the attempts that had it."""

    value: str
    attempts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Surrounding:
    """Something of the environment.

    Args:
        name: `host`, `program`, a package, or what a scheduler tells.
        spells: its values in their order; more than one where it has changed between attempts.
    """

    name: str
    spells: tuple[Spell, ...]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A hyperparameter that was changed: when, in which attempt, its name, both values, and whether the `code` or the `checkpoint` counted."""

    at: float
    attempt: int
    name: str
    then: str
    now: str
    settled: str


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What the run was configured with.

    Args:
        checkpoint: the newest one whose manifest can be read; it says so. None where there is none.
        hyperparameters: as the code gave them.
        changes: in the order of time.
    """

    checkpoint: str | None
    hyperparameters: Mapping[str, Any]
    changes: tuple[Changed, ...]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What reading the checkpoints has shown.

    Args:
        depth: `quick` (sizes of all files, digests of small ones) or `full` (every byte).
        good, damaged: how many.
        size_bytes, read_bytes: of the good ones, and what of it was read.
    """

    depth: Literal["quick", "full"]
    good: int
    damaged: int
    size_bytes: int
    read_bytes: int


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a part of the run directory takes: its name there, the number of its files, and their size."""

    name: str
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What was moved away and not deleted: where it is, relative to the run; what it is (`quarantined`, `life` or `rolled_back`); why."""

    path: str
    kind: Literal["quarantined", "life", "rolled_back"]
    words: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something that a reader should know of.

    Args:
        kind: `inexact`, `journal` (lines of it cannot be read), `damaged`, `moved`, `foreground`, `space` or `left_out`.
        words: for people.
    """

    kind: Literal["inexact", "journal", "damaged", "moved", "foreground", "space", "left_out"]
    words: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything that a report shows of a run.

    Args:
        made_at: when.
        made_by: by which version of ckptkit.
        checkpoints: oldest first.
        interventions: what was done to the run between its attempts.
        version: of this form.
    """

    made_at: float
    made_by: str
    run: Head
    wall_time: WallTime
    totals: Totals
    remarks: tuple[Remark, ...]
    attempts: tuple[AttemptRow, ...]
    links: tuple[Link, ...]
    interventions: tuple[DrawnMark, ...]
    checkpoints: tuple[CheckpointRow, ...]
    environment: tuple[Surrounding, ...]
    configuration: Configuration
    verification: Verification
    disk: tuple[Stored, ...]
    moved: tuple[Moved, ...]
    version: int = DOCUMENT_VERSION


def values_of(document: Document) -> dict[str, object]:
    """The document as values that JSON can hold, with its version first.

    A journal may claim a time that no float can add up; such a number is given as the largest one, so that the rest can be looked at.
    """
    values = msgspec.to_builtins(document)
    bounded = _bounded(values)
    assert isinstance(bounded, dict)
    return {"version": bounded.pop("version"), **bounded}


def _bounded(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return 0.0 if math.isnan(value) else math.copysign(sys.float_info.max, value)
    if isinstance(value, dict):
        return {name: _bounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded(each) for each in value]
    return value
