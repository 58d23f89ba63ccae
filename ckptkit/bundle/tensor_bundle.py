"""Writes and reads tensors in TensorFlow's own checkpoint files.

If a read fails, only a wrong checksum, a truncated file or a missing file is damage. TensorFlow
reports a lack of memory or descriptors, and all system errors, with the same exceptions; those
become a `StorageError`. `ckptkit.storage.proof_of_damage` decides about errors of the system.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.bundle.bundle_check import check_bundle
from ckptkit.compat import tf_checkpoint
from ckptkit.errors import CheckpointError, CorruptCheckpointError
from ckptkit.layout import PREFIX
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.storage.files import storage_errors
from ckptkit.storage.plain_paths import opened, plain_directory, plain_prefix
from ckptkit.storage.proof_of_damage import is_proven_missing, not_read, proven_damage
from ckptkit.tracking.snapshot import Snapshot

_CONTENTS = (
    tf.errors.DataLossError,
    tf.errors.OutOfRangeError,
    tf.errors.InvalidArgumentError,
    # The reader raises this instead of the two above, and Python code raises it for invalid
    # contents.
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
)
"""The errors about contents, unless their text names a system error."""

_READ_ERRORS = (tf.errors.OpError, RuntimeError, OSError, MemoryError, *_CONTENTS)

_UNTYPED = (tf.errors.OpError, tf.errors.UnknownError, RuntimeError)

# TensorFlow appends the system's message to the path: "PATH; Too many open files". One of its codes
# may mean different errors: OutOfRangeError is a truncated file or EOVERFLOW.
_NUMBERS = {os.strerror(number): number for number in errno.errorcode}
_SYSTEM_ERROR = re.compile(
    "; (" + "|".join(sorted(map(re.escape, _NUMBERS), key=len, reverse=True)) + r")(?![\w,])"
)
_FILE = re.compile(r"(\.index|\.data-\d{5}-of-\d{5}); ")
_NO_KEY = "not found in checkpoint"
_NO_SAVED_MODEL = "SavedModel file does not exist at"
_NOT_LISTED = "Failed to get matching files on"


@contextmanager
def judging_tensorflow(
    prefix: Path,
    *,
    what: str = "",
    saved_model: Path | None = None,
    probe: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Turn a TensorFlow error in the block into a damage error or a storage error.

    Args:
        prefix: the prefix of the checkpoint that TensorFlow reads, with its real path.
        what: the part that is read, for the message; by default all.
        saved_model: the directory of the SavedModel to which the checkpoint belongs.
        probe: reads the same data with an operation, because TensorFlow's reader loses the type of
            most errors.

    Raises:
        CorruptCheckpointError: If damage is proven.
        StorageError: If the error says nothing about the files.
    """
    try:
        yield
    except CheckpointError:
        raise
    except _READ_ERRORS as error:
        typed = _repeated(probe) or error if type(error) in _UNTYPED and probe else error
        damage, number = _judged(typed, prefix, saved_model)
        shown, text = saved_model or prefix, first_line(error)
        if damage is None:
            raise not_read(shown, number, text) from error
        verb, part = "load" if saved_model else "read", f"{what} of " if what else ""
        message = f"TensorFlow cannot {verb} {part}{shown}: {text}"
        raise CorruptCheckpointError(message, damage) from error


def first_line(error: Exception) -> str:
    """Return the first line of a TensorFlow error, because the message contains stack traces."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return (text or type(error).__name__).strip().splitlines()[0]


def _repeated(probe: Callable[[], object]) -> Exception | None:
    try:
        probe()
    except _READ_ERRORS as error:
        return error
    return None


def _judged(
    error: Exception, prefix: Path, saved_model: Path | None
) -> tuple[str | None, int | None]:
    """Return the kind of proven damage or None, and the system's error number or None."""
    text = error.message or "" if isinstance(error, tf.errors.OpError) else str(error)
    index = prefix.with_name(f"{prefix.name}.index")
    if isinstance(error, OSError) and error.errno is not None:
        path = Path(error.filename) if isinstance(error.filename, str) else index
        return proven_damage(error, path), error.errno
    if found := _SYSTEM_ERROR.search(text):
        number = _NUMBERS[found[1]]
        file = _FILE.search(text)
        path = prefix.with_name(f"{prefix.name}{file[1]}") if file else index
        return proven_damage(OSError(number, found[1]), path), number
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return None, errno.ENOMEM
    if isinstance(error, tf.errors.NotFoundError | FileNotFoundError) and _NO_KEY not in text:
        # Without a free descriptor, TensorFlow cannot list the directory and reports a missing
        # file.
        return "missing" if is_proven_missing(index) else None, None
    if _NO_SAVED_MODEL in text and saved_model is not None:
        return "missing" if is_proven_missing(saved_model / "saved_model.pb") else None, None
    # TensorFlow's Python code raises an OSError without a number for a file of another format.
    if (
        isinstance(error, (*_CONTENTS, tf.errors.NotFoundError, OSError))
        and _NOT_LISTED not in text
    ):
        return "unreadable", None
    return None, None


SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
"""The suffix that TensorFlow adds to the key of each value.

`tf.train.load_checkpoint(prefix).get_tensor(key + SUFFIX)` reads a value.
"""


def write_tensors(
    snapshot: Snapshot, directory: Path, step: int, beside: Mapping[str, tf.Tensor]
) -> None:
    """Write a snapshot as `ckpt-<step>` into a directory.

    Args:
        snapshot: the state.
        directory: the directory, which must exist.
        step: the number in the files' names.
        beside: what TensorFlow stores beside the values; see `graph_tensors`.

    Raises:
        StorageError: if the disk refuses.
    """
    tensors = {key + SUFFIX: tensor for key, (_, tensor) in sorted(snapshot.tensors.items())}
    with writing_in(directory) as plain:
        save({**tensors, **beside}, plain / f"{PREFIX}-{step}")


def save(tensors: Mapping[str, tf.Tensor], prefix: Path) -> None:
    """Write tensors with TensorFlow's operation, inside of `writing_in`.

    It gives the files their final names before all of them are complete.

    Args:
        tensors: the tensors by their keys in TensorFlow's files.
        prefix: the path and name of the files without suffixes.
    """
    # On the CPU, also if the program saves inside of its own `tf.device`.
    with tf.device("CPU:0"):
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )


def save_values(values: Mapping[str, tf.Tensor], directory: Path, step: int) -> None:
    """Write values as `ckpt-<step>` into a directory, without the state that they belong to.

    Args:
        values: the values by key.
        directory: the directory, which must exist.
        step: the number in the files' names.

    Raises:
        StorageError: if the disk refuses.
    """
    with writing_in(directory) as plain:
        named = {key + SUFFIX: value for key, value in values.items()}
        save(named, plain / f"{PREFIX}-{step}")


@contextmanager
def writing_in(directory: Path) -> Iterator[Path]:
    """Turn TensorFlow's errors in the block into errors of storage.

    Args:
        directory: the directory into which the block writes.

    Yields:
        A path of the directory that TensorFlow does not take for a pattern.

    Raises:
        StorageError: If the disk refuses.
    """
    with storage_errors("write the checkpoint in", directory), plain_directory(directory) as plain:
        try:
            yield plain
        except tf.errors.OpError as error:
            raise OSError(_errno(error), error.message) from error


def write_bundle(tensors: Mapping[str, tf.Tensor], directory: Path, name: str) -> None:
    """Write tensors in TensorFlow's format, beside a checkpoint's own files.

    Args:
        tensors: the tensors by key.
        directory: the directory, which must exist.
        name: the name of the files, without suffixes.

    Raises:
        StorageError: if the disk refuses.
    """
    with writing_in(directory) as plain:
        _checkpoint_of(tensors).write(str(plain / name))


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
    keys = [entry.key + SUFFIX for entry in entries]
    with judging_tensorflow(prefix):
        check_bundle(prefix, keys)
        return restore(prefix, keys, [tf.as_dtype(entry.dtype) for entry in entries])


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
        check_bundle(prefix)
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
        check_bundle(prefix, [key])
        return reader.get_tensor(key)


def _probe_index(prefix: Path) -> None:
    """Raise TensorFlow's typed error if the index cannot be read."""
    key = "no checkpoint has this key"
    try:
        restore(prefix, [key], [tf.float32])
    except tf.errors.NotFoundError as error:
        if key not in (error.message or ""):
            raise
