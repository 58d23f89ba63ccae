"""Holds the lock of a run while a command changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit.clock import SystemClock
from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.ownership.claims import check_not_held
from ckptkit.ownership.fenced_file_system import FencedFiles
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_state_file import write_state_file
from ckptkit.run.journal import DeferredJournal, next_attempt
from ckptkit.run.run_recovery import recover as run_recovery
from ckptkit.storage.files import NO_SPACE, FileSystem


class OwnedRun:
    """A run that this process may change.

    Args:
        layout: the run.
        lock: the run's lock, which this process holds.

    Attributes:
        files: the file system, which refuses to write after the lock is lost.
        journal: records what this process does; on a full disk, as soon as there is space.
    """

    def __init__(self, layout: RunLayout, lock: RunLock) -> None:
        self.layout = layout
        self.files = FencedFiles(FileSystem(), lock.check)
        self.journal = DeferredJournal(self.files, layout, SystemClock(), lock.number)
        self._lock = lock

    def recover(self) -> None:
        """Remove what killed saves left behind, before this process changes anything else.

        On a disk without any space, the rest of the recovery is left to the next owner. Its claims
        stay, so that owner knows what is missing.
        """
        try:
            run_recovery(self.files, self.layout, self.journal, self._lock)
        except StorageError as error:
            if error.errno not in NO_SPACE:
                raise
            logger.warning("the next start completes the recovery of the run: %s", error)
        else:
            self._lock.settle()

    def close(self) -> None:
        """Write the journal's lines that waited for disk space.

        If the journal has no space, only its lines are lost; the changes themselves are done.
        """
        try:
            self.journal.flush()
        except StorageError as error:
            logger.warning("the journal does not record this command: %s", error)

    def update_state_file(self) -> None:
        """Let TensorFlow's `checkpoint` file name the checkpoints that exist now.

        ckptkit never reads it, so a full disk costs a warning only; the next start mends it.
        """
        names = [checkpoint.name for checkpoint in list_checkpoints(self.layout)]
        try:
            write_state_file(self.files, self.layout, names)
        except StorageError as error:
            if error.errno not in NO_SPACE:
                raise
            logger.warning("TensorFlow's state file is out of date until the next start: %s", error)


def check_not_owned(layout: RunLayout) -> None:
    """Check that no process of this machine owns the run, without claiming it.

    Args:
        layout: the run.

    Raises:
        RunLockedError: If a process of this machine owns the run.
    """
    check_not_held(layout)


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
    try:
        lock.keep_alive()
        run = OwnedRun(layout, lock)
        yield run
        run.close()
    finally:
        lock.release()
