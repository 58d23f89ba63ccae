"""What lies beside the versions for a while belongs to somebody, and whether they live is known or
not.

Several machines may publish into one directory, and process numbers repeat: in each container the
first process is number 1. So an owner has a name that nobody else has, with its machine in it, and
holds a file of that name, which the kernel lets go of with the process (`flock(2)`).
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from ckptkit.ownership import process_lock
from ckptkit.ownership.machine import Machine, this_machine
from ckptkit.storage.files import FileSystem, storage_errors

QUIET_SECS = 3600.0
"""How long nothing may have changed before what another machine has left is taken for left: its
kernel cannot be asked.
"""

_MACHINE = re.compile(r"([0-9a-f]{16})-[0-9a-f]{32}")
_HIDDEN = re.compile(
    rf"\.(?:writing|removing)-\d+-({_MACHINE.pattern}|\d{{1,9}})"
)  # an earlier version named only the process
_LOCK = re.compile(rf"\.lock-({_MACHINE.pattern})")


def new_name(machine: Machine | None = None) -> str:
    """A name for an owner that nobody else has, and that tells processes of this machine that it is
    theirs.
    """
    machine = machine or this_machine()
    # A kernel that does not say which it is may be any: then nobody knows the machine again.
    mark = (
        xxhash.xxh3_64_hexdigest(f"{machine.host}\0{machine.boot}".encode())
        if machine.boot
        else uuid.uuid4().hex[:16]
    )
    return f"{mark}-{uuid.uuid4().hex}"


def lock_of(base: Path, owner: str) -> Path:
    """The file that an owner holds while it lives; it is made before what is the owner's, and
    removed after that.
    """
    return base / f".lock-{owner}"


@contextmanager
def owner(files: FileSystem, base: Path) -> Iterator[str]:
    """A name for what the block makes beside the versions.

    Args:
        files: how to change the disk.
        base: the base directory.

    Raises:
        StorageError: where the disk refuses.
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
    """Holds a file; None where somebody else has it, or has taken it away meanwhile, because it was
    nobody's for a moment.
    """
    try:
        descriptor = process_lock.hold(path)
    except (BlockingIOError, FileNotFoundError):
        return None
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    os.close(descriptor)
    return None


def clean_up(files: FileSystem, base: Path, mine: str) -> None:
    """Removes what owners have left that are known to be dead; of other machines, what nobody has
    changed for an hour.

    Args:
        files: how to change the disk.
        base: the base directory.
        mine: this owner's name.

    Raises:
        StorageError: where the disk refuses.
    """
    with storage_errors("look at", base):
        now = (
            lock_of(base, mine).lstat().st_mtime
        )  # by the clock that the others' times are from: on a share, the server's
        left = _by_owner(base)
    here = mine.partition("-")[0]
    for name, paths in left.items():
        if name == mine:
            continue
        with _dead(base, name, paths, here, now) as is_dead:
            if is_dead:
                files.sync_dir(base)  # the rename that hid it has to be durable before its files go
                for path in paths:
                    files.remove_tree(path)
                if _MACHINE.fullmatch(
                    name
                ):  # the process number of an earlier version had no such file
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
    """Whether an owner is known to be dead, or has long been silent; its file is held for the
    block, lest somebody takes it for their own.
    """
    lock = lock_of(base, name)
    known = _MACHINE.fullmatch(name)
    if known is None or known[1] != here:
        yield now - _last_change([lock, *paths]) > QUIET_SECS
        return
    if not os.path.lexists(lock):
        yield True  # the directory's file goes after it
        return
    held = process_lock.is_held(lock)
    if held is None:  # this file system knows no such locks
        yield now - _last_change([lock, *paths]) > QUIET_SECS
        return
    descriptor = None if held else _hold(lock)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _last_change(paths: list[Path]) -> float:
    """When one of these, or something in them, was changed last."""
    newest, to_visit = 0.0, list(paths)
    while to_visit:
        path = to_visit.pop()
        with suppress(FileNotFoundError, NotADirectoryError):
            newest = max(newest, path.lstat().st_mtime)
            if not path.is_symlink() and path.is_dir():
                to_visit.extend(path.iterdir())
    return newest
