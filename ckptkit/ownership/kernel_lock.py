"""Takes and checks kernel locks, which show whether another process of this machine still runs.

The kernel holds locks on files (`flock`), which end with their process in any case. Two processes
on one machine can ask about each other.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from ckptkit.storage.files import read_bounded

_MOST_BYTES = 64 * 1024

_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK})
"""The errors of file systems that do not support such locks."""


def read_small(path: Path) -> bytes:
    """Return the content of a small file in which a process describes itself.

    Raises:
        OSError: If it cannot be read, or is not a small regular file.
    """
    return read_bounded(path, _MOST_BYTES)


def hold(path: Path) -> int:
    """Take the kernel's exclusive lock on a file, without waiting.

    On a file system without such locks, the file is only opened. There `is_held` returns None or
    False, and its callers use signs of life instead.

    Returns:
        A descriptor; the lock ends when it is closed or the process ends.

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
    """Return whether a process of this machine has locked a file; None if the kernel cannot tell.

    Do not use it for processes of other machines, because a network file system may not show their
    locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # A shared lock, so that two processes that check at once do not mistake each other for the
        # owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
    else:
        return False
    finally:
        os.close(descriptor)
