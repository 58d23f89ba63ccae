"""Reading files that may come from others: bounded in size, through no link, never waiting."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_MORE_BYTES = 64 * 1024
"""Read at a time beyond the size that the file had when it was opened."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading.

    Raises:
        OSError: If it is missing or is something else: a link, a directory, a pipe, a device.
    """
    return os.fdopen(_open(path)[0], "rb")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Returns the content of a regular file.

    Raises:
        OSError: As `open_regular`, and if it has more than `most_bytes` (`EFBIG`).
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
    """Opens a regular file; returns the descriptor and the size."""
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
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
