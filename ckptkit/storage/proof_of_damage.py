"""Whether a failed read proves that a file is damaged. "Cannot read" is not "is bad".

This is the only place that decides it. A machine without memory, descriptors, permission or
network reports errors for files that are good, and some of them look like a missing file. Only
proven damage may cost a checkpoint its place, so each proof is made here by looking again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckptkit.errors import CheckpointError, CorruptCheckpointError, StorageError
from ckptkit.storage.files import DISK, FileSystem, TooLargeError


def proven_damage(error: OSError, path: Path, files: FileSystem = DISK) -> str | None:
    """Return the kind of damage that a failed read of a file proves, or None if it proves nothing.

    Args:
        error: what the read raised.
        path: the file.
        files: how the disk is read.

    Returns:
        `missing`, if a directory that can be listed does not have the name; `unreadable`, if it is
        no regular file or has too many bytes.
    """
    if isinstance(error, TooLargeError):
        return "unreadable"
    try:
        if _is_missing(path, files):
            return "missing"
        found = files.status(path)
        if found is None:
            return None
        if stat.S_ISLNK(found.st_mode):
            return _damage_of_link(error, path, files)
    except OSError:
        return None
    return None if stat.S_ISREG(found.st_mode) else "unreadable"


def _damage_of_link(error: OSError, path: Path, files: FileSystem) -> str | None:
    """Return the damage of a link: our own reads refuse it, and TensorFlow's follow it."""
    if error.errno == errno.ELOOP:
        return "unreadable"
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and _is_missing(path.resolve(), files):
        return "missing"
    return None


def is_proven_missing(path: Path, files: FileSystem = DISK) -> bool:
    """Return whether a file is certainly missing: a directory was listed and does not have it.

    A mount that vanished reports missing files as well, but there no directory can be listed.
    """
    try:
        return _is_missing(path, files)
    except OSError:
        return False


def _is_missing(path: Path, files: FileSystem) -> bool:
    directory = path.parent
    try:
        return path.name not in files.list_dir(directory)
    except FileNotFoundError:
        return directory.name not in files.list_dir(directory.parent)
    except NotADirectoryError:
        found = files.status(directory)
        return found is not None and not stat.S_ISDIR(found.st_mode)


@contextmanager
def judging(path: Path, name: str, files: FileSystem = DISK) -> Iterator[None]:
    """Turn an error of reading inside the block into what it means for the checkpoint.

    Args:
        path: what is read.
        name: of the file, for the error.
        files: how it is read.

    Raises:
        CorruptCheckpointError: If damage is proven.
        StorageError: If the error says nothing about the file.
    """
    try:
        yield
    except CheckpointError:
        raise
    except MemoryError as error:
        raise not_read(path, errno.ENOMEM) from error
    except OSError as error:
        damage = proven_damage(error, path, files)
        if damage is None:
            raise not_read(path, error.errno, error.strerror or str(error)) from error
        raise CorruptCheckpointError(
            f"{path} is missing."
            if damage == "missing"
            else f"{path} cannot be read: {error.strerror or error}.",
            damage,
            name,
        ) from error


def not_read(path: Path, number: int | None, reason: str = "") -> StorageError:
    """Return the error for a read that failed without a proof of damage.

    Args:
        path: what was read.
        number: the system's error number, or None if there is none.
        reason: in words; by default those of the number.
    """
    number = errno.EIO if number is None else number
    return StorageError(
        number,
        f"Could not read {path}: {reason or os.strerror(number)}. That says nothing about its "
        "contents, so it stays in its place. Look at this machine's memory, open files, "
        "permissions and mounts, and try again.",
    )
