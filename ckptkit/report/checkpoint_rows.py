"""What a report lists of what lies on disk: a part of its document (`document.py`). Forms only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ckptkit.run.manifest import Number


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
        status: `good`, `damaged`, `quarantined`, `set_aside`, `taken_away` or `gone` (nobody told
            why).
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
    """What a part of the run directory takes: its name there, the number of its files, and their
    size.
    """

    name: str
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What was moved away and not deleted: where it is, relative to the run; what it is
    (`quarantined`, `life` or `rolled_back`); why.
    """

    path: str
    kind: Literal["quarantined", "life", "rolled_back"]
    words: str
    size_bytes: int
