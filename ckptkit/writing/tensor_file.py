"""Writes and reads tensors in TensorFlow's own checkpoint files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.layout import PREFIX
from ckptkit.run.manifest import TensorEntry
from ckptkit.storage.files import storage_errors
from ckptkit.storage.plain_paths import opened, plain_directory, plain_prefix
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.writing.tensor_errors import judging_tensorflow

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
"""The suffix that TensorFlow adds to the key of each value.

`tf.train.load_checkpoint(prefix).get_tensor(key + SUFFIX)` reads a value.
"""


def write_tensors(snapshot: Snapshot, directory: Path, step: int) -> None:
    """Write a snapshot as `ckpt-<step>` into a directory, with `tf.train.CheckpointManager`.

    Args:
        snapshot: the state.
        directory: the directory, which must exist.
        step: the number in the files' names.

    Raises:
        StorageError: if the disk refuses.
    """
    checkpoint = _checkpoint_of({key: tensor for key, (_, tensor) in snapshot.tensors.items()})
    with storage_errors("write the checkpoint in", directory), plain_directory(directory) as name:
        # max_to_keep=None: it must delete nothing, because the keep policy does that.
        manager = tf.train.CheckpointManager(
            checkpoint, str(name), max_to_keep=None, checkpoint_name=PREFIX
        )
        try:
            manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            raise OSError(_errno(error), error.message) from error


def _errno(error: tf.errors.OpError) -> int:
    """Return the system's error number for a TensorFlow error, which does not contain it."""
    import errno

    # A full disk is not always a ResourceExhaustedError, so the system's message is searched too.

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
        # A key may be the parent of others, such as `a/state/0` of `a/state/0/arrays/1`. So each
        # value is stored under the empty name in the dictionary of its key.
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
    """Read the values of tensors that a manifest lists: all of them, or none.

    Args:
        prefix: the path and name of the files, without their suffixes.
        entries: the tensors to read.

    Raises:
        CorruptCheckpointError: if a file is damaged or a value is missing.
        StorageError: if reading failed for another reason.
    """
    if not entries:
        return []
    with judging_tensorflow(prefix):
        return restore(
            prefix,
            [entry.key + SUFFIX for entry in entries],
            [tf.as_dtype(entry.dtype) for entry in entries],
        )


def restore(prefix: Path, keys: Sequence[str], dtypes: Sequence[tf.DType]) -> list[tf.Tensor]:
    """Read values with one operation, which raises TensorFlow's own errors."""
    # Read on the CPU, so that a restore does not need the state twice in an accelerator's memory.
    with plain_prefix(prefix) as name, tf.device("CPU"):
        return list(
            tf.raw_ops.RestoreV2(
                prefix=str(name),
                tensor_names=list(keys),
                shape_and_slices=[""] * len(keys),
                dtypes=list(dtypes),
            )
        )


def open_reader(prefix: Path) -> Any:
    """Open a checkpoint with TensorFlow's reader; `read_value` reads its values.

    Raises:
        CorruptCheckpointError: If it is damaged or missing.
        StorageError: If reading failed for another reason.
    """
    with judging_tensorflow(prefix, probe=lambda: _probe_index(prefix)):
        return opened(plain_prefix(prefix), lambda name: tf.train.load_checkpoint(str(name)))


def read_value(reader: Any, prefix: Path, key: str) -> Any:
    """Return one value as an array, without a copy as a tensor; a string as bytes.

    Args:
        reader: the result of `open_reader`.
        prefix: the prefix of its checkpoint.
        key: the key of the value.

    Raises:
        CorruptCheckpointError: If it is damaged or missing.
        StorageError: If reading failed for another reason.
    """

    def probe() -> object:
        return restore(prefix, [key], [reader.get_variable_to_dtype_map()[key]])

    with judging_tensorflow(prefix, what=key.removesuffix(SUFFIX), probe=probe):
        return reader.get_tensor(key)


def _probe_index(prefix: Path) -> None:
    """Raise TensorFlow's typed error if the index cannot be read."""
    key = "no checkpoint has this key"
    try:
        restore(prefix, [key], [tf.float32])
    except tf.errors.NotFoundError as error:
        if key not in (error.message or ""):
            raise
