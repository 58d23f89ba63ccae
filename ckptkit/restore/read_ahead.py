"""Reads a checkpoint before its values are assigned, while the program traces its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle.tensor_read import TensorRead
from ckptkit.restore.verification import verify_before_restore
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.intact_verdict import IntactVerdict
from ckptkit.run.verify import Depth
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

    def verify(
        self, checkpoint: Checkpoint, depth: Depth, verdict: IntactVerdict | None
    ) -> Checkpoint:
        """Begin to read a checkpoint, and verify it meanwhile; see `verify_before_restore`.

        Raises:
            CorruptCheckpointError: If it is damaged.
            StorageError: If the system refuses to read.
        """
        self.begin(checkpoint)
        return verify_before_restore(checkpoint, depth, verdict)

    def verify_by_reading(
        self, checkpoint: Checkpoint, depth: Depth, verdict: IntactVerdict | None
    ) -> Checkpoint:
        """Read a checkpoint, and verify it by the checksums in its values if `auto` allows that.

        Raises:
            CorruptCheckpointError, StorageError: As for `verify`.
        """
        if depth != "auto" or not self.begin(checkpoint):
            return self.verify(checkpoint, depth, verdict)
        # The values are assigned next, so to compare the digests of the same bytes would cost a
        # second pass over them. Small files and anchors are compared.
        usable = verify_before_restore(checkpoint, "quick", verdict)
        if self._read is not None:
            self._read.tensors()
        return usable

    def take(self, checkpoint: Checkpoint) -> Mapping[str, tf.Tensor] | None:
        """Return the values by key, and forget them here; None if the checkpoint was not begun.

        Raises:
            CorruptCheckpointError: If a file is damaged.
            StorageError: If reading failed for another reason.
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
