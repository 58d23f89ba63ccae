"""The part of a report's document about checkpoints and disk (see `document.py`). Types only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ckptkit.run.manifest import Number


@dataclass(frozen=True, kw_only=True)
class PinNote:
    """The pin of a checkpoint.

    Args:
        pinned_at: when it was pinned; 0 if unknown.
        note: the reason that was given, or empty.
    """

    pinned_at: float
    note: str


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """A checkpoint that exists or existed.

    Args:
        name, step, attempt: its name, and the step and the attempt in that name.
        status: `good`, `damaged`, `quarantined`, `set_aside`, `taken_away` or `gone` (no reason was
            recorded).
        words: what is wrong with it, or why it is missing; empty if it is good.
        is_there: whether it is in the run's `checkpoints/` directory now.
        final: whether it is the state at the end of training.
        pinned: its pin, or None.
        epoch, batch, saved_at, size_bytes: from its manifest, else from the journal; None if in
            neither.
        metrics: the metrics at its position.
        trigger: why it was saved.
        resumed_by: the numbers of the attempts that resumed from it.
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
class Verification:
    """The result of verifying the checkpoints.

    Args:
        depth: `quick` (sizes of all files, digests of small ones) or `full` (every byte).
        good, damaged: the number of good and of damaged checkpoints.
        size_bytes, read_bytes: the size of the good ones, and how much of it was read.
    """

    depth: Literal["quick", "full"]
    good: int
    damaged: int
    size_bytes: int
    read_bytes: int


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The disk usage of one entry of the run directory.

    Args:
        name: the name of the entry.
        files: the number of files at and below it.
        size_bytes: their size.
    """

    name: str
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Something that was moved away and not deleted.

    Args:
        path: where it is, relative to the run.
        kind: `quarantined`, `life` or `rolled_back`.
        words: why it was moved.
        size_bytes: its size.
    """

    path: str
    kind: Literal["quarantined", "life", "rolled_back"]
    words: str
    size_bytes: int
