"""Reads a checkpoint before its values are assigned, while the program traces its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle.tensor_read import TensorRead
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.writing.free_memory import available_bytes

COPIES = 2.0
"""The free memory that reading ahead needs, in copies of the state.

One copy is what is read. The rest is for the program, which allocates memory at the same time.
"""

LEAST_BYTES = 1_000_000
"""The size of a state, in bytes, below which a thread would cost more than it saves."""


class ReadAhead:
    """Reads at most one checkpoint on threads, from `begin` to `take` or `close`.

    What was read stays valid even if the files change afterwards, because exactly these values are
    assigned.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._keys: tuple[str, ...] = ()
        self._read: TensorRead | None = None

    def begin(self, checkpoint: Checkpoint) -> bool:
        """Start to read a checkpoint, instead of the one that was read before.

        Args:
            checkpoint: the checkpoint. Its files need not be verified.

        Returns:
            Whether it is read; False if it is small, or if there is too little memory.

        Raises:
            CorruptCheckpointError: If its manifest cannot be read.
        """
        self.close()
        entries = checkpoint.manifest.tensors
        size_bytes = sum(entry.size_bytes for entry in entries)
        if size_bytes < LEAST_BYTES or available_bytes() < COPIES * size_bytes:
            return False
        self._path = checkpoint.path
        self._keys = tuple(entry.key for entry in entries)
        self._read = TensorRead(checkpoint.prefix, entries).start()
        return True

    def confirm(self) -> None:
        """Wait until everything is read; TensorFlow has then compared each value's checksum.

        Raises:
            CorruptCheckpointError: If a file is damaged.
            StorageError: If reading failed for another reason.
        """
        if self._read is not None:
            self._read.tensors()

    def take(self, checkpoint: Checkpoint) -> Mapping[str, tf.Tensor] | None:
        """Return the values by key, and forget them here; None if the checkpoint was not begun.

        Raises:
            CorruptCheckpointError, StorageError: As for `confirm`.
        """
        read, self._read = self._read, None
        if read is None:
            return None
        if self._path != checkpoint.path:
            read.close()
            return None
        return dict(zip(self._keys, read.tensors(), strict=True))

    def close(self) -> None:
        """Stop reading, and free what was read."""
        read, self._read = self._read, None
        if read is not None:
            read.close()
