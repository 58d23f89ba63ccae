"""Locks that the kernel holds for a process, and that end with it however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from ckptkit.storage.files import read_bounded

_MOST_BYTES = 64 * 1024

_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK})
"""Errors of file systems that have no such locks."""


def read_small(path: Path) -> bytes:
    """Returns the content of a small file by which a process reports about itself.

    Raises:
        OSError: If it cannot be read, or is something else.
    """
    return read_bounded(path, _MOST_BYTES)


def hold(path: Path) -> int:
    """Takes the kernel's exclusive lock on a file, without waiting.

    On a file system that has no such locks the file is only opened; `is_held` then answers None or
    False there, and its callers fall back on signs of life.

    Returns:
        A descriptor. The lock ends when it is closed, or with the process.

    Raises:
        OSError: If the file cannot be opened, or another process holds the lock (`EWOULDBLOCK`).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            os.close(descriptor)
            raise
    return descriptor


def is_held(path: Path) -> bool | None:
    """Whether a process of this machine holds a file, see `hold`; None if the kernel cannot tell.

    Do not ask about processes of other machines: a network file system shows their locks or does
    not.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # A shared lock for a moment: two processes that ask at once do not take each other for the
        # owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
    else:
        return False
    finally:
        os.close(descriptor)
