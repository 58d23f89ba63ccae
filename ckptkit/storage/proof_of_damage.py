"""Decides whether a failed read proves that a file is damaged.

Only this module decides it. A machine without memory, descriptors, permission or network reports
errors for intact files, and some look like a missing file. A checkpoint may be moved away only if
its damage is proven, so each error is checked again here.
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
    """Return the kind of damage that a failed read proves, or None if it proves nothing.

    Args:
        error: the error of the read.
        path: the file.
        files: how to read the disk.

    Returns:
        `missing` if the directory can be listed but does not contain the name; `unreadable` if it
            is not a regular file or is too large.
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
    """Return the damage of a link, which ckptkit's reads refuse and TensorFlow's follow."""
    if error.errno == errno.ELOOP:
        return "unreadable"
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and _is_missing(path.resolve(), files):
        return "missing"
    return None


def is_proven_missing(path: Path, files: FileSystem = DISK) -> bool:
    """Return whether a file is certainly missing, because a listed directory does not contain it.

    A lost mount also reports missing files, but then no directory can be listed.
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
    """Turn a read error in the block into a damage error or a storage error.

    Args:
        path: the path that is read.
        name: the name of the file, for the error.
        files: how to read it.

    Raises:
        CorruptCheckpointError: If damage is proven.
        StorageError: If the error proves nothing about the file.
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
        path: the path that was read.
        number: the system's error number, or None.
        reason: the reason in words; by default the text for the number.
    """
    number = errno.EIO if number is None else number
    return StorageError(
        number,
        f"Could not read {path}: {reason or os.strerror(number)}. That proves no damage, so it "
        f"stays in its place. Check this machine's memory, open files, permissions and mounts, "
        f"and try again.",
    )
