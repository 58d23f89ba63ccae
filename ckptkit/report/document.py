"""The one document that a report is drawn from, and that `ckptkit report --json` prints. Forms
only; `docs/schemas/report.json` is its schema.

Text from journals, manifests and names is in it as it was found: it may hold any character, and
whoever shows it shows it as text. Times are seconds since the epoch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from ckptkit.report.checkpoint_rows import CheckpointRow, Moved, Stored, Verification
from ckptkit.report.timeline_rows import AttemptRow, DrawnMark, ResumeLink

DOCUMENT_VERSION = 1
"""Under it fields may be added; those that are here keep their names and meanings."""


@dataclass(frozen=True, kw_only=True)
class ReportHead:
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
class TimePart:
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
    parts: tuple[TimePart, ...]


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
    """A hyperparameter that was changed: when, in which attempt, its name, both values, and whether
    the `code` or the `checkpoint` counted.
    """

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
class Remark:
    """Something that a reader should know of.

    Args:
        kind: `inexact`, `journal` (lines of it cannot be read), `damaged`, `moved`, `foreground`,
            `space` or `left_out`.
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
    run: ReportHead
    wall_time: WallTime
    totals: Totals
    remarks: tuple[Remark, ...]
    attempts: tuple[AttemptRow, ...]
    links: tuple[ResumeLink, ...]
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

    A journal may claim a time that no float can add up; such a number is given as the largest one,
    so that the rest can be looked at.
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
