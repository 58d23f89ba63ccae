"""Holding a run while a command changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit.clock import SystemClock
from ckptkit.layout import RunLayout
from ckptkit.ownership.fenced_files import FencedFiles
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.catalog import list_checkpoints
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.run.recover import recover
from ckptkit.run.state_file import write_state_file
from ckptkit.storage.files import FileSystem


class Owned:
    """A run that this process may change.

    Args:
        layout: the run.
        lock: that this process holds.

    Attributes:
        journal: where this process tells what it did.
    """

    def __init__(self, layout: RunLayout, lock: RunLock) -> None:
        self.layout = layout
        self.files = FencedFiles(FileSystem(), lock.check)
        self.journal = start_journal(self.files, layout, SystemClock(), lock.number)
        self._lock = lock

    def tidy_up(self) -> None:
        """Removes what dead saves have left, as every owner does before it changes anything."""
        recover(self.files, self.layout, self.journal, self._lock)
        self._lock.settle()

    def tell_tensorflow(self) -> None:
        """Makes TensorFlow's state file say what is there now."""
        write_state_file(
            self.files,
            self.layout,
            [checkpoint.name for checkpoint in list_checkpoints(self.layout)],
        )


@contextmanager
def owned(layout: RunLayout) -> Iterator[Owned]:
    """The run is this process's own inside the block.

    Args:
        layout: the run.

    Raises:
        RunLockedError: where it is being trained.
        StorageError: where the disk refuses.
    """
    lock = RunLock(
        FileSystem(), layout, SystemClock(), at_least=next_attempt(layout), take_over=False
    )
    lock.keep_alive()
    try:
        yield Owned(layout, lock)
    finally:
        lock.release()
