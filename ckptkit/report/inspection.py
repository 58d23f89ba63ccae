"""Whether the checkpoints of a run are what was written. Reads only, takes no lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ckptkit.errors import CorruptCheckpointError
from ckptkit.report.checkpoint_rows import Verification
from ckptkit.report.checkpoint_table import FoundCheckpoint
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.verify import Read, verify


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What came of reading the checkpoints.

    Args:
        there: the checkpoints, oldest first; one that training has taken away meanwhile is gone and
            not damaged.
        verification: the same, counted.
    """

    there: tuple[FoundCheckpoint, ...]
    verification: Verification


def inspect_checkpoints(
    checkpoints: Sequence[Checkpoint],
    *,
    full: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> Inspection:
    """Compares checkpoints with their manifests.

    Args:
        checkpoints: which, oldest first.
        full: read every byte; otherwise sizes are compared, and small files are read.
        progress: is told how many bytes were read, as it goes on.

    Raises:
        StorageError: where the system refuses to read, which says nothing about a checkpoint.
    """
    there, reads = [], []
    for checkpoint in checkpoints:
        found, read = _inspect(checkpoint, full, progress)
        if found.problem is None or checkpoint.path.exists():
            there.append(found)
            reads += [] if read is None else [read]
    damaged = sum(each.problem is not None for each in there)
    return Inspection(
        there=tuple(there),
        verification=Verification(
            depth="full" if full else "quick",
            good=len(there) - damaged,
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
