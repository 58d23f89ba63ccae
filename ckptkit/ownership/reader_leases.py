"""What somebody reads is not taken away under them.

A reader leaves a small file of its own in `pins/` while it reads, and looks after that whether the
checkpoint is about to go. The owner of the run says what is about to go before it looks at who
reads. So at least one of the two sees the other (Dekker's rule for two flags), and no lock is
needed. A reader that may not write there reads without; what vanishes then is found again by trying
the newest.
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
from ckptkit.ownership import process_lock
from ckptkit.ownership.machine import Machine, this_machine
from ckptkit.storage.files import NO_SPACE, FileSystem

HOLD_SECS = 3600.0
"""How long a hold of another machine counts, whose process cannot be asked after."""


@dataclass(frozen=True, kw_only=True)
class ReaderLease:
    """Somebody reads a checkpoint.

    Args:
        checkpoint: its name.
        host: name of the reader's machine.
        boot: the number of its kernel's start.
        since: when it began, in seconds since the epoch.
    """

    checkpoint: str
    host: str
    boot: str
    since: float


@contextmanager
def held(layout: RunLayout, name: CheckpointName) -> Iterator[None]:
    """While the block runs, the owner of the run does not take this checkpoint away; where this
    process may write there.
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
    machine = this_machine()
    path = layout.pins / f".reading-{os.urandom(16).hex()}"
    temporary = path.with_name(f"{path.name}.tmp")
    descriptor = -1
    try:
        temporary.write_bytes(
            msgspec.json.encode(
                ReaderLease(
                    checkpoint=str(name), host=machine.host, boot=machine.boot, since=time.time()
                )
            )
        )
        descriptor = process_lock.hold(temporary)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        if descriptor >= 0:
            os.close(descriptor)
        return None, -1
    return path, descriptor


def is_leaving(layout: RunLayout, name: CheckpointName) -> bool:
    """Whether the owner of the run has said that this checkpoint is about to go."""
    return layout.leaving(name).exists()


@contextmanager
def about_to_go(files: FileSystem, layout: RunLayout, name: CheckpointName) -> Iterator[bool]:
    """Marks a checkpoint as about to be removed while the block runs.

    The block asks who reads it. Yields whether the mark could be made: a disk without a free inode
    has no space for it, and removing checkpoints is what helps there. The block then has to ask
    once more after it has renamed the checkpoint.

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
    """The checkpoints that somebody reads."""
    machine = this_machine()
    names = [
        CheckpointName.parse(hold.checkpoint)
        for path in _holds(layout)
        if (hold := _living(path, machine)) is not None
    ]
    return frozenset(name for name in names if name is not None)


def clear_away(files: FileSystem, layout: RunLayout) -> None:
    """Removes what dead readers left.

    Raises:
        StorageError: where the disk refuses.
    """
    machine = this_machine()
    for path in _holds(layout):
        if _living(path, machine) is None:
            files.remove_file(path)


def _holds(layout: RunLayout) -> list[Path]:
    try:
        return sorted(layout.pins.glob(".reading-*"))
    except OSError:
        return []


def _living(path: Path, machine: Machine) -> ReaderLease | None:
    try:
        hold = msgspec.json.decode(process_lock.read_small(path), type=ReaderLease)
    except PermissionError:
        hold = ReaderLease(checkpoint="", host="", boot="", since=path.lstat().st_mtime)
    except (OSError, ValueError, RecursionError):
        return None
    if (
        Machine(hold.host, hold.boot).is_same(machine)
        and (lives := process_lock.is_held(path)) is not None
    ):
        return hold if lives else None
    return hold if abs(time.time() - hold.since) < HOLD_SECS else None
