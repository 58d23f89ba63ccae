"""Verifies all checkpoints of a run for a report; only reads, and takes no lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ckptkit.errors import CorruptCheckpointError
from ckptkit.report.checkpoint_rows import Verification
from ckptkit.report.checkpoint_table import FoundCheckpoint
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.verify import Read, verify


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The result of verifying all checkpoints.

    Args:
        found: the checkpoints, oldest first; those deleted during the inspection are left out.
        verification: how many are good and how many are damaged.
    """

    found: tuple[FoundCheckpoint, ...]
    verification: Verification


def inspect_checkpoints(
    checkpoints: Sequence[Checkpoint],
    *,
    full: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> Inspection:
    """Compare checkpoints with their manifests.

    Args:
        checkpoints: the checkpoints, oldest first.
        full: whether to read every byte; otherwise sizes are compared, and small files are read.
        progress: is called with the number of bytes that were read since the last call.

    Raises:
        StorageError: If the system refuses to read, which proves nothing about a checkpoint.
    """
    checked, reads = [], []
    for checkpoint in checkpoints:
        each, read = _inspect(checkpoint, full, progress)
        if each.problem is None or checkpoint.path.exists():
            checked.append(each)
            reads += [] if read is None else [read]
    damaged = sum(each.problem is not None for each in checked)
    return Inspection(
        found=tuple(checked),
        verification=Verification(
            depth="full" if full else "quick",
            good=len(checked) - damaged,
            damaged=damaged,
            size_bytes=sum(read.size_bytes for read in reads),
            read_bytes=sum(read.read_bytes for read in reads),
        ),
    )


def _inspect(
    checkpoint: Checkpoint, full: bool, progress: Callable[[int], None]
) -> tuple[FoundCheckpoint, Read | None]:
    try:
        manifest = checkpoint.manifest
    except CorruptCheckpointError as error:
        return FoundCheckpoint(name=checkpoint.name, manifest=None, problem=str(error)), None
    try:
        read = verify(checkpoint, quick=not full, progress=progress)
    except CorruptCheckpointError as error:
        return FoundCheckpoint(name=checkpoint.name, manifest=manifest, problem=str(error)), None
    return FoundCheckpoint(name=checkpoint.name, manifest=manifest), read
