"""Which checkpoints a run has. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.store.files import storage_errors
from ckptkit.store.layout import CheckpointName, RunLayout
from ckptkit.store.manifest import Manifest, from_numbers, read_manifest


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint as it is found on disk.

    Args:
        name: step and attempt.
        path: its directory.
    """

    name: CheckpointName
    path: Path

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
        return read_manifest(self.path)

    @property
    def problem(self) -> str | None:
        """Why the manifest cannot be read, or None."""
        try:
            _ = self.manifest
        except (CorruptCheckpointError, StorageError) as error:
            return str(error)
        return None

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured at its position."""
        return from_numbers(self.manifest.metrics)


def list_checkpoints(layout: RunLayout) -> list[Checkpoint]:
    """The run's checkpoints in the order in which they were made: by attempt, then by step.

    A later attempt has always seen the earlier ones, so what it wrote is newer, also where it went back to an older step.

    Raises:
        StorageError: where the directory cannot be read.
    """
    if not layout.checkpoints.exists():
        return []
    with storage_errors("list", layout.checkpoints):
        entries = [(CheckpointName.parse(path.name), path) for path in layout.checkpoints.iterdir()]
    found = [Checkpoint(name, path) for name, path in entries if name is not None]
    return sorted(found, key=lambda checkpoint: (checkpoint.attempt, checkpoint.step))
