"""Records which process writes an unfinished version, and cleans up after dead processes.

Several machines may publish into one directory, and process numbers repeat: in each container the
first process is number 1. So each owner has a unique name that contains its machine. It locks a
file of that name, and the kernel releases the lock with the process (`flock(2)`).
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from ckptkit.ownership import kernel_lock
from ckptkit.ownership.machine_identity import Machine, this_machine
from ckptkit.storage.files import FileSystem, storage_errors

QUIET_SECS = 3600.0
"""Seconds without changes after which another machine's unfinished version counts as abandoned.

The kernel of another machine cannot be asked whether the owner still runs.
"""

_MACHINE = re.compile(r"([0-9a-f]{16})-[0-9a-f]{32}")
_HIDDEN = re.compile(
    rf"\.(?:writing|removing)-\d+-({_MACHINE.pattern}|\d{{1,9}})"
)  # an earlier ckptkit named only the process
_LOCK = re.compile(rf"\.lock-({_MACHINE.pattern})")


def new_name(machine: Machine | None = None) -> str:
    """Return a unique name for an owner, from which this machine recognises it as its own."""
    machine = machine or this_machine()
    # Without a boot id this machine cannot be recognised, so a random mark matches none.
    mark = (
        xxhash.xxh3_64_hexdigest(f"{machine.host}\0{machine.boot}".encode())
        if machine.boot
        else uuid.uuid4().hex[:16]
    )
    return f"{mark}-{uuid.uuid4().hex}"


def lock_of(base: Path, owner: str) -> Path:
    """Return the lock file of an exporting process.

    The process holds the lock while it runs. It creates the file before its directories, and
    removes it last.
    """
    return base / f".lock-{owner}"


@contextmanager
def owner(files: FileSystem, base: Path) -> Iterator[str]:
    """Yield a unique owner name under which the block creates unfinished versions.

    Args:
        files: how to change the disk.
        base: the base directory.

    Raises:
        StorageError: If the disk refuses.
    """
    name, descriptor = _take(files, base)
    try:
        yield name
    finally:
        try:
            files.remove_file(lock_of(base, name))
        finally:
            os.close(descriptor)


def _take(files: FileSystem, base: Path) -> tuple[str, int]:
    while True:
        name = new_name()
        path = lock_of(base, name)
        files.create(path, b"")
        try:
            with storage_errors("lock", path):
                descriptor = _hold(path)
        except BaseException:
            files.remove_file(path)
            raise
        if descriptor is not None:
            return name, descriptor


def _hold(path: Path) -> int | None:
    """Lock a file; return None if another process has locked or removed it.

    It may be removed, because a new file is unlocked for a moment.
    """
    try:
        descriptor = kernel_lock.hold(path)
    except (BlockingIOError, FileNotFoundError):
        return None
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    os.close(descriptor)
    return None


def clean_up(files: FileSystem, base: Path, mine: str) -> None:
    """Remove unfinished versions of dead owners, and those that are unchanged for an hour.

    Args:
        files: how to change the disk.
        base: the base directory.
        mine: this owner's name.

    Raises:
        StorageError: If the disk refuses.
    """
    with storage_errors("look at", base):
        # Measured by the clock of the file system, which on a network share is the server's.
        now = lock_of(base, mine).lstat().st_mtime
        left = _by_owner(base)
    here = mine.partition("-")[0]
    for name, paths in left.items():
        if name == mine:
            continue
        with _dead(base, name, paths, here, now) as is_dead:
            if is_dead:
                # The rename that hid it must be durable before its files are deleted.
                files.sync_dir(base)
                for path in paths:
                    files.remove_tree(path)
                if _MACHINE.fullmatch(name):  # an earlier ckptkit had no such file
                    files.remove_file(lock_of(base, name))


def _by_owner(base: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(base.iterdir()):
        if match := _HIDDEN.fullmatch(path.name):
            found.setdefault(match[1], []).append(path)
        elif match := _LOCK.fullmatch(path.name):
            found.setdefault(match[1], [])
    return found


@contextmanager
def _dead(base: Path, name: str, paths: list[Path], here: str, now: float) -> Iterator[bool]:
    """Yield whether an owner is dead or has been silent for long.

    Its file stays locked during the block, so that two processes do not remove the same files.
    """
    lock = lock_of(base, name)
    known = _MACHINE.fullmatch(name)
    if known is None or known[1] != here:
        yield now - _last_change([lock, *paths]) > QUIET_SECS
        return
    if not os.path.lexists(lock):
        yield True  # a lock file is made before its directory, and removed after it
        return
    held = kernel_lock.is_held(lock)
    if held is None:  # this file system does not support such locks
        yield now - _last_change([lock, *paths]) > QUIET_SECS
        return
    descriptor = None if held else _hold(lock)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _last_change(paths: list[Path]) -> float:
    """Return when one of these paths, or a file in one, was changed last."""
    newest, to_visit = 0.0, list(paths)
    while to_visit:
        path = to_visit.pop()
        with suppress(FileNotFoundError, NotADirectoryError):
            newest = max(newest, path.lstat().st_mtime)
            if not path.is_symlink() and path.is_dir():
                to_visit.extend(path.iterdir())
    return newest
