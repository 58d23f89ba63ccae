"""Holding a run while a command changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit.clock import SystemClock
from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.ownership.fenced_files import FencedFiles
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.catalog import list_checkpoints
from ckptkit.run.deferred_journal import DeferredJournal
from ckptkit.run.journal import next_attempt
from ckptkit.run.recover import recover
from ckptkit.run.state_file import write_state_file
from ckptkit.storage.files import NO_SPACE, FileSystem


class Owned:
    """A run that this process may change.

    Args:
        layout: the run.
        lock: that this process holds.

    Attributes:
        journal: records what this process does; on a full disk, as soon as there is space.
    """

    def __init__(self, layout: RunLayout, lock: RunLock) -> None:
        self.layout = layout
        self.files = FencedFiles(FileSystem(), lock.check)
        self.journal = DeferredJournal(self.files, layout, SystemClock(), lock.number)
        self._lock = lock

    def tidy_up(self) -> None:
        """Removes what dead saves have left, as every owner does before it changes anything.

        On a disk without any space, the rest of the recovery is left to the next owner. Its claims
        stay, so that owner knows what is missing.
        """
        try:
            recover(self.files, self.layout, self.journal, self._lock)
        except StorageError as error:
            if error.errno not in NO_SPACE:
                raise
            logger.warning("the next start completes the recovery of the run: %s", error)
        else:
            self._lock.settle()

    def close(self) -> None:
        """Writes what the journal still holds back.

        A journal without space costs its lines only: what they record has been done.
        """
        try:
            self.journal.flush()
        except StorageError as error:
            logger.warning("the journal does not record this command: %s", error)

    def tell_tensorflow(self) -> None:
        """Rewrites TensorFlow's state file from the checkpoints of the run.

        ckptkit never reads it, so a full disk costs a warning only; the next start mends it.
        """
        names = [checkpoint.name for checkpoint in list_checkpoints(self.layout)]
        try:
            write_state_file(self.files, self.layout, names)
        except StorageError as error:
            if error.errno not in NO_SPACE:
                raise
            logger.warning("TensorFlow's state file is out of date until the next start: %s", error)


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
    try:
        lock.keep_alive()
        run = Owned(layout, lock)
        yield run
        run.close()
    finally:
        lock.release()
