"""The document from which a report is drawn and which `ckptkit report --json` prints.

Types only; `docs/schemas/report.json` is the schema. Text from journals, manifests and names is
unchanged and may hold any character, so a reader must show it as text. Times are seconds since the
epoch.
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
"""The version of this format. It may gain fields; existing ones keep name and meaning."""


@dataclass(frozen=True, kw_only=True)
class ReportHead:
    """The run, and its state.

    Args:
        name: the name of its directory.
        directory: the directory, as it was named.
        state: one word, as in `ckptkit list`.
        words: the state in words for people.
        life: the number of the current life; each fresh start begins another one.
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
        words: the meaning of the kind.
        secs: the duration.
    """

    kind: str
    words: str
    secs: float


@dataclass(frozen=True, kw_only=True)
class WallTime:
    """The wall time of the current life, and its parts.

    Args:
        began, ended: its ends; None if nothing has begun.
        secs: the difference; the parts sum to it.
        ratio: goodput, from 0 to 1; None if no time has passed.
        parts: the parts, the productive one first.
    """

    began: float | None
    ended: float | None
    secs: float
    ratio: float | None
    parts: tuple[TimePart, ...]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The most important numbers.

    Args:
        attempts: the number of attempts in the current life.
        endings: how many of them ended with which outcome.
        newest_good: the name of the newest good checkpoint, or None.
        steps_lost, lost_secs: work that no longer is part of the run, in steps and in time.
        saves: the number of checkpoints that were committed in the current life.
        stall_secs: how long training stood still for saves.
        checkpoints: the number of existing checkpoints.
        size_bytes: the size of everything in the run directory.
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
    """A value, and the attempts that had it.

    Args:
        value: the value.
        attempts: the numbers of the attempts.
    """

    value: str
    attempts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Surrounding:
    """One property of the environment.

    Args:
        name: `host`, `program`, a package, or a property that a scheduler reports.
        spells: its values in their order; more than one if it changed between attempts.
    """

    name: str
    spells: tuple[Spell, ...]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A hyperparameter that was changed between attempts.

    Args:
        at: the time of the change.
        attempt: the attempt that changed it.
        name: the name of the hyperparameter.
        then: its earlier value.
        now: its new value in the code.
        settled: whether the value of the `code` or of the `checkpoint` counts.
    """

    at: float
    attempt: int
    name: str
    then: str
    now: str
    settled: str


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The configuration of the run.

    Args:
        checkpoint: the newest checkpoint whose manifest can be read, from which this comes; None if
            there is none.
        hyperparameters: the hyperparameters that the code gave.
        changes: the changes, in the order of time.
    """

    checkpoint: str | None
    hyperparameters: Mapping[str, Any]
    changes: tuple[Changed, ...]


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something that a reader of the report should know.

    Args:
        kind: `inexact`, `journal` (some of its lines cannot be read), `damaged`, `moved`,
            `foreground`, `dropped` (saves that were not written), `space` or `left_out`.
        words: the remark, for people.
    """

    kind: Literal[
        "inexact", "journal", "damaged", "moved", "foreground", "dropped", "space", "left_out"
    ]
    words: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything that a report shows of a run.

    Args:
        made_at: when the report was made.
        made_by: the version of ckptkit that made it.
        run: the run, and its state.
        wall_time: the wall time of the current life, and its parts.
        totals: the most important numbers.
        remarks: what a reader should know first.
        attempts: the attempts of all lives.
        links: which attempt resumed from which checkpoint.
        interventions: rollbacks and fresh starts, which happen between attempts.
        checkpoints: every known checkpoint, oldest first.
        environment: the machines and the software with which the attempts ran.
        configuration: the configuration of the run.
        verification: the result of verifying the checkpoints.
        disk: the disk usage, largest first.
        moved: what was moved away and not deleted.
        version: the version of this format.
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
    """Return the document as values that JSON can hold, with its version first.

    A journal may claim times whose sum is infinite. Such a number becomes the largest float, so
    that the rest can be shown.
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
