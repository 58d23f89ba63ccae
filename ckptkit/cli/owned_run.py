"""Owning a run while a command changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit.clock import SystemClock
from ckptkit.layout import RunLayout
from ckptkit.ownership.fenced_files import FencedFiles
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.run.recover import recover as run_recovery
from ckptkit.run.tensorflow_state_file import write_state_file
from ckptkit.storage.files import FileSystem


class OwnedRun:
    """A run that this process may change.

    Args:
        layout: the run.
        lock: the run's lock, which this process holds.

    Attributes:
        files: the file system, which refuses to write after the lock is lost.
        journal: the journal in which this process records what it did.
    """

    def __init__(self, layout: RunLayout, lock: RunLock) -> None:
        self.layout = layout
        self.files = FencedFiles(FileSystem(), lock.check)
        self.journal = start_journal(self.files, layout, SystemClock(), lock.number)
        self._lock = lock

    def recover(self) -> None:
        """Remove what killed saves left behind, before this process changes anything else."""
        run_recovery(self.files, self.layout, self.journal, self._lock)
        self._lock.settle()

    def update_state_file(self) -> None:
        """Let TensorFlow's `checkpoint` file name the checkpoints that exist now."""
        write_state_file(
            self.files,
            self.layout,
            [checkpoint.name for checkpoint in list_checkpoints(self.layout)],
        )


@contextmanager
def own_run(layout: RunLayout) -> Iterator[OwnedRun]:
    """Hold the run's lock inside the block.

    Args:
        layout: the run.

    Raises:
        RunLockedError: If the run is being trained.
        StorageError: If the lock cannot be written.
    """
    lock = RunLock(
        FileSystem(), layout, SystemClock(), at_least=next_attempt(layout), take_over=False
    )
    lock.keep_alive()
    try:
        yield OwnedRun(layout, lock)
    finally:
        lock.release()
