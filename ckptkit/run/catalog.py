"""Which checkpoints a run has. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership.fence import read_fences
from ckptkit.run.manifest import Manifest, ManifestHead, from_numbers, read_head, read_manifest
from ckptkit.storage.files import DISK, FileSystem, names_in


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint as it is found on disk.

    Args:
        name: step and attempt.
        path: its directory.
        files: how its files are read.
    """

    name: CheckpointName
    path: Path
    files: FileSystem = field(default=DISK, compare=False, repr=False)

    @property
    def step(self) -> int:
        return self.name.step

    @property
    def attempt(self) -> int:
        return self.name.attempt

    @property
    def prefix(self) -> Path:
        """What TensorFlow's functions take, as in `tf.train.load_checkpoint(prefix)`."""
        return self.path / self.name.prefix

    @cached_property
    def manifest(self) -> Manifest:
        """What the checkpoint says of itself.

        Raises:
            CorruptCheckpointError: where it cannot be read.
        """
        return read_manifest(self.path, self.files)

    @cached_property
    def head(self) -> ManifestHead:
        """The same without the state: what is needed to list it, to choose among several, and to
        find its files.

        Raises:
            CorruptCheckpointError: where it cannot be read.
        """
        known = self.__dict__.get("manifest")
        return known if isinstance(known, Manifest) else read_head(self.path, self.files)

    @property
    def problem(self) -> str | None:
        """Why its manifest cannot be read, or None; the part that describes the state is not looked
        at.
        """
        try:
            _ = self.head
        except (CorruptCheckpointError, StorageError) as error:
            return str(error)
        return None

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured at its position."""
        return from_numbers(self.head.metrics)


def list_checkpoints(layout: RunLayout, files: FileSystem = DISK) -> list[Checkpoint]:
    """The run's checkpoints in the order in which they were made: by attempt, then by step.

    A later attempt has always seen the earlier ones, so what it wrote is newer, also where it went
    back to an older step. What a process committed after it had lost its run is not among them (see
    `fence.py`).

    Raises:
        StorageError: where the directory cannot be read.
    """
    return [checkpoint for checkpoint, shut_out in _find(layout, files) if not shut_out]


def list_shut_out(layout: RunLayout, files: FileSystem = DISK) -> list[Checkpoint]:
    """What was committed by a process that had lost the run; no checkpoints, though they lie where
    those do.

    Raises:
        StorageError: where the directory cannot be read.
    """
    return [checkpoint for checkpoint, shut_out in _find(layout, files) if shut_out]


def _find(layout: RunLayout, files: FileSystem) -> list[tuple[Checkpoint, bool]]:
    while True:
        paths = [layout.checkpoints / name for name in names_in(files, layout.checkpoints)]
        try:
            fences = read_fences(paths, files)
            break
        except FileNotFoundError:
            continue
    found = [
        Checkpoint(name, path, files)
        for path in paths
        if (name := CheckpointName.parse(path.name)) is not None
    ]
    found.sort(key=lambda checkpoint: (checkpoint.attempt, checkpoint.step))
    return [
        (checkpoint, any(fence.shuts_out(checkpoint.name) for fence in fences))
        for checkpoint in found
    ]
