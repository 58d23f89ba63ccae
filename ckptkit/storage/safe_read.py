"""Reading files that somebody else may have put there: of a bounded size, through no link, and
never waiting at a pipe.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_MORE_BYTES = 64 * 1024
"""Beyond the size that it had when it was opened."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading.

    Raises:
        OSError: where there is none, or something else: a link, a directory, a pipe, a device.
    """
    return os.fdopen(_open(path)[0], "rb")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: as `open_regular`, and where it is larger than that.
    """
    descriptor, size = _open(path)
    try:
        data = os.read(descriptor, size + 1) if size <= most_bytes else b""
        while data and len(data) <= most_bytes and (more := os.read(descriptor, _MORE_BYTES)):
            data += more
    finally:
        os.close(descriptor)
    if max(size, len(data)) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return data


def _open(path: Path) -> tuple[int, int]:
    """A descriptor of a regular file, and its size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(
                errno.ELOOP, "it is a symbolic link, and none is followed", str(path)
            ) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor, found.st_size
