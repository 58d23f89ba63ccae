"""Tensors to and from TensorFlow's own checkpoint files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import PREFIX
from ckptkit.run.manifest import TensorEntry
from ckptkit.storage.files import storage_errors
from ckptkit.tracking.snapshot import Snapshot

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
"""What TensorFlow adds to the name of a value; `tf.train.load_checkpoint(prefix).get_tensor(key +
SUFFIX)` reads one.
"""

READ_ERRORS = (tf.errors.OpError, IndexError, ValueError)
"""What TensorFlow raises over damaged files."""


def write(snapshot: Snapshot, directory: Path, step: int) -> None:
    """Writes a snapshot as `ckpt-<step>` into a directory, with TensorFlow's own manager.

    Raises:
        StorageError: where the disk refuses.
    """
    checkpoint = _tree({key: tensor for key, (_, tensor) in snapshot.tensors.items()})
    manager = tf.train.CheckpointManager(
        checkpoint, str(directory), max_to_keep=None, checkpoint_name=PREFIX
    )
    with storage_errors("write the checkpoint in", directory):
        try:
            manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            raise OSError(_errno(error), error.message) from error


def _errno(error: tf.errors.OpError) -> int:
    import errno

    text = error.message or ""
    if isinstance(error, tf.errors.ResourceExhaustedError) or "No space left" in text:
        return errno.ENOSPC
    if isinstance(error, tf.errors.PermissionDeniedError):
        return errno.EACCES
    return errno.EIO


def _tree(tensors: Mapping[str, tf.Tensor]) -> tf.train.Checkpoint:
    nested: dict[str, Any] = {}
    for key, tensor in tensors.items():
        *parents, last = key.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        # A key that is itself a parent (`a/state/0` beside `a/state/0/arrays/1`) holds its value
        # under its own name.
        node.setdefault(last, {})[""] = tf_checkpoint.StagedTensor(tensor)
    return _node(nested)


def _node(nested: Mapping[str, Any]) -> Any:
    own = nested.get("")
    children = {name: _node(child) for name, child in nested.items() if name}
    if own is None:
        return tf.train.Checkpoint(**children)
    for name, child in children.items():
        setattr(own, name, child)
    return own


def read(prefix: Path, entries: Sequence[TensorEntry]) -> list[tf.Tensor]:
    """The values of these entries, all or none.

    Raises:
        CorruptCheckpointError: where a file is damaged or a value is missing.
    """
    if not entries:
        return []
    try:
        with tf.device("CPU"):
            return list(
                tf.raw_ops.RestoreV2(
                    prefix=str(prefix),
                    tensor_names=[entry.key + SUFFIX for entry in entries],
                    shape_and_slices=[""] * len(entries),
                    dtypes=[tf.as_dtype(entry.dtype) for entry in entries],
                )
            )
    except (*READ_ERRORS, TypeError) as error:
        raise CorruptCheckpointError(
            f"TensorFlow cannot read {prefix}: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """What an error of TensorFlow says, in one line."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return (text or type(error).__name__).strip().splitlines()[0]
