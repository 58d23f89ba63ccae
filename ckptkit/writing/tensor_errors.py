"""Tells damage from other failures in TensorFlow's errors while it reads files.

Only a wrong checksum, a truncated file or a missing file is damage. TensorFlow reports a lack of
memory or descriptors, and all system errors, with the same exceptions; those become a
`StorageError`. `ckptkit.storage.proof_of_damage` decides about errors of the system.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from ckptkit.errors import CheckpointError, CorruptCheckpointError
from ckptkit.storage.proof_of_damage import is_proven_missing, not_read, proven_damage

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
