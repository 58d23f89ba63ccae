"""Tensors in TensorFlow's own checkpoint files: writing a snapshot, and reading values."""

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
"""What TensorFlow adds to the key of a value.

`tf.train.load_checkpoint(prefix).get_tensor(key + SUFFIX)` reads one.
"""

READ_ERRORS = (tf.errors.OpError, IndexError, ValueError)
"""What TensorFlow raises for damaged files."""


def write_tensors(snapshot: Snapshot, directory: Path, step: int) -> None:
    """Write a snapshot as `ckpt-<step>` into a directory, with `tf.train.CheckpointManager`.

    Args:
        snapshot: the state.
        directory: must exist.
        step: the number in the files' names.

    Raises:
        StorageError: if the disk refuses.
    """
    checkpoint = _checkpoint_of({key: tensor for key, (_, tensor) in snapshot.tensors.items()})
    # max_to_keep=None: it must delete nothing, the keep policy does that.
    manager = tf.train.CheckpointManager(
        checkpoint, str(directory), max_to_keep=None, checkpoint_name=PREFIX
    )
    with storage_errors("write the checkpoint in", directory):
        try:
            manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            raise OSError(_errno(error), error.message) from error


def _errno(error: tf.errors.OpError) -> int:
    """Return the system's error number for an error of TensorFlow's, which has none."""
    import errno

    # Not every full disk is a ResourceExhaustedError, so the system's own words are looked for too.

    text = error.message or ""
    if isinstance(error, tf.errors.ResourceExhaustedError) or "No space left" in text:
        return errno.ENOSPC
    if isinstance(error, tf.errors.PermissionDeniedError):
        return errno.EACCES
    return errno.EIO


def _checkpoint_of(tensors: Mapping[str, tf.Tensor]) -> tf.train.Checkpoint:
    """Return a checkpoint object whose saved keys are the given keys."""
    nested: dict[str, Any] = {}
    for key, tensor in tensors.items():
        *parents, last = key.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        # A key may be the parent of others, as `a/state/0` of `a/state/0/arrays/1`. So each value
        # is stored in the dictionary of its key, under the empty name.
        node.setdefault(last, {})[""] = tf_checkpoint.StagedTensor(tensor)
    return _trackable_of(nested)


def _trackable_of(nested: Mapping[str, Any]) -> Any:
    """Return the trackable object for one level of keys; values may have children themselves."""
    own = nested.get("")
    children = {name: _trackable_of(child) for name, child in nested.items() if name}
    if own is None:
        return tf.train.Checkpoint(**children)
    for name, child in children.items():
        setattr(own, name, child)
    return own


def read_tensors(prefix: Path, entries: Sequence[TensorEntry]) -> list[tf.Tensor]:
    """Read the values of manifest entries, all or none.

    Args:
        prefix: path and name of the files, without their suffixes.
        entries: which tensors.

    Raises:
        CorruptCheckpointError: if a file is damaged or a value is missing.
    """
    if not entries:
        return []
    try:
        # One operation for all values. On the CPU, so that a restore does not need the state twice
        # in an accelerator's memory.
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
    """Return the first line of an error of TensorFlow's, whose messages have stack traces."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return (text or type(error).__name__).strip().splitlines()[0]
