"""Small files by which processes tell of themselves, and whether the one that left one still lives."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from ckptkit.storage.safe_read import read_bounded

_MOST_BYTES = 64 * 1024


def read_small(path: Path) -> bytes:
    """The content of such a file.

    Raises:
        OSError: where it cannot be read, or is something else.
    """
    return read_bounded(path, _MOST_BYTES)


def hold(path: Path) -> int:
    """Lets the kernel hold a lock on a file for this process, until the descriptor that is returned
    is closed or the process ends.

    Raises:
        OSError: where it cannot be opened, or somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (
            errno.ENOTSUP,
            errno.ENOSYS,
            errno.ENOLCK,
        ):  # such file systems know no such locks
            os.close(descriptor)
            raise
    return descriptor


def is_held(path: Path) -> bool | None:
    """Whether a process of this machine holds a file, see `hold`; None where the kernel cannot
    tell.

    Locks of other machines' kernels are seen here or not, as the file system likes: do not ask for
    those.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
    else:
        return False
    finally:
        os.close(descriptor)
