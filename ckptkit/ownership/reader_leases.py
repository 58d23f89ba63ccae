"""Leases of readers: files that keep a checkpoint from being removed while it is read.

A reader writes its own small file into `pins/`, and then checks whether the checkpoint is about to
be removed. The owner of the run first marks the checkpoint, and then checks for leases. So at least
one of the two notices the other (Dekker's algorithm), and no lock is needed. A reader without write
permission reads without a lease. If its checkpoint disappears, it tries the newest one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ckptkit.errors import StorageError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership import kernel_lock
from ckptkit.ownership.machine_identity import Machine, this_machine
from ckptkit.storage.files import NO_SPACE, FileSystem
from ckptkit.storage.json_bytes import json_bytes

HOLD_SECS = 3600.0
"""Seconds for which a lease of another machine counts, because its process cannot be checked."""


@dataclass(frozen=True, kw_only=True)
class ReaderLease:
    """The content of a lease: the process that reads a checkpoint.

    Args:
        checkpoint: the name of the checkpoint.
        host: the name of the reader's machine.
        boot: the boot id of its kernel.
        since: when reading began, in seconds since the epoch.
    """

    checkpoint: str
    host: str
    boot: str
    since: float


@contextmanager
def held(layout: RunLayout, name: CheckpointName) -> Iterator[None]:
    """Keep a checkpoint from being removed while the block runs.

    Does nothing if this process may not write into `pins/`.
    """
    path, descriptor = _place(layout, name)
    try:
        yield
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _place(layout: RunLayout, name: CheckpointName) -> tuple[Path | None, int]:
    # It bypasses `FileSystem` and is not synced, because a lease need not survive a crash. An fsync
    # would make each reader wait for the training's writes.
    machine = this_machine()
    path = layout.pins / f".reading-{os.urandom(16).hex()}"
    temporary = path.with_name(f"{path.name}.tmp")
    descriptor = -1
    try:
        temporary.write_bytes(
            json_bytes(
                ReaderLease(
                    checkpoint=str(name), host=machine.host, boot=machine.boot, since=time.time()
                )
            )
        )
        descriptor = kernel_lock.hold(temporary)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        if descriptor >= 0:
            os.close(descriptor)
        return None, -1
    return path, descriptor


def is_leaving(layout: RunLayout, name: CheckpointName) -> bool:
    """Return whether the owner of the run has marked a checkpoint as about to be removed."""
    return layout.leaving(name).exists()


@contextmanager
def about_to_go(files: FileSystem, layout: RunLayout, name: CheckpointName) -> Iterator[bool]:
    """Mark a checkpoint as about to be removed while the block runs.

    The block checks for leases. Yields whether the mark could be made: a full disk has no space for
    it, but has to allow removals. Without the mark, the block must check again after it has renamed
    the checkpoint.

    Raises:
        StorageError: If the disk refuses for another reason.
    """
    files.remove_file(layout.leaving(name))
    try:
        files.create(layout.leaving(name), b"")
    except StorageError as error:
        if error.errno not in NO_SPACE:
            raise
        yield False
        return
    try:
        yield True
    finally:
        files.remove_file(layout.leaving(name))


def being_read(layout: RunLayout) -> frozenset[CheckpointName]:
    """Return the names of the checkpoints that are being read."""
    leases = _leases(layout)
    if not leases:  # as at nearly every save
        return frozenset()
    machine = this_machine()
    names = [
        CheckpointName.parse(lease.checkpoint)
        for path in leases
        if (lease := _running(path, machine)) is not None
    ]
    return frozenset(name for name in names if name is not None)


def remove_dead_leases(files: FileSystem, layout: RunLayout) -> None:
    """Remove the leases of dead readers.

    Raises:
        StorageError: If the disk refuses.
    """
    machine = this_machine()
    for path in _leases(layout):
        if _running(path, machine) is None:
            files.remove_file(path)


def _leases(layout: RunLayout) -> list[Path]:
    try:
        return sorted(layout.pins.glob(".reading-*"))
    except OSError:
        return []


def _running(path: Path, machine: Machine) -> ReaderLease | None:
    """Return a lease, or None if its process has ended or its content is damaged."""
    try:
        lease = msgspec.json.decode(kernel_lock.read_small(path), type=ReaderLease)
    except PermissionError:
        # Another user's lease, which cannot be read. Its checkpoint is unknown, and it must not be
        # removed.
        lease = ReaderLease(checkpoint="", host="", boot="", since=path.lstat().st_mtime)
    except (OSError, ValueError, RecursionError):
        return None
    reader = Machine(lease.host, lease.boot)
    if reader.is_same_kernel(machine):
        held = kernel_lock.is_held(path)
        if held:
            return lease
        # A reader in another container may have the file through another mount, with locks of its
        # own. Then it counts by its age.
        if held is False and reader.is_same(machine):
            return None
    # `abs`: a lease from the future comes from a wrong clock and would otherwise count for years.
    return lease if abs(time.time() - lease.since) < HOLD_SECS else None
