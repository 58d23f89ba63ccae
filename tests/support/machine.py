"""A small disk, a read-only one, another user: for the process that asks, and gone with it."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_NEW_MOUNTS, _RECURSIVE, _PRIVATE, _READ_ONLY, _REMOUNT, _BIND = (
    0x20000,
    0x4000,
    1 << 18,
    1,
    32,
    0x1000,
)
NOT_PERMITTED = 77
"""The exit code of a process that may not mount; the test is skipped then."""


def small_disk(path: Path, size_bytes: int, inodes: int | None = None) -> None:
    """Mounts a file system of this size, seen by this process and its children only.

    Args:
        path: where; the directory is made.
        size_bytes: of all files.
        inodes: how many files and directories it can hold; by default as many as fit.
    """
    path.mkdir(parents=True, exist_ok=True)
    _check(_libc().unshare(_NEW_MOUNTS))
    _mount(None, Path("/"), _RECURSIVE | _PRIVATE)
    limit = f",nr_inodes={inodes}" if inodes is not None else ""
    _mount("tmpfs", path, 0, f"size={size_bytes}{limit}")


def make_read_only(path: Path) -> None:
    """Makes a directory of `small_disk` read-only, whatever is open in it."""
    _mount(str(path), path, _BIND)
    _mount(None, path, _BIND | _REMOUNT | _READ_ONLY)


def become_another_user() -> None:
    """Gives up root's rights, which no permission stops; another user is that already."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def _mount(source: str | None, target: Path, flags: int, options: str | None = None) -> None:
    kind = b"tmpfs" if source == "tmpfs" else None
    _check(
        _libc().mount(
            source and source.encode(),
            os.fsencode(target),
            kind,
            flags,
            options and options.encode(),
        )
    )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result == 0:
        return
    number = ctypes.get_errno()
    if sys.platform == "linux" and number not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        raise OSError(number, os.strerror(number))
    print(f"may not mount: {os.strerror(number)}", file=sys.stderr)
    sys.exit(NOT_PERMITTED)
