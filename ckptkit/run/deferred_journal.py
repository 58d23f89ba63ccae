"""A journal for a full disk: it keeps its lines in memory until there is space for them.

A process that frees space has to take the run first, and to record what it does. On a disk without
a free block or inode neither the file of its journal nor a line in it can be written before it has
removed something.
"""

from __future__ import annotations

from ckptkit.clock import Clock
from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout
from ckptkit.run.events import Event
from ckptkit.run.journal import Journal, make_journal_file
from ckptkit.storage.files import NO_SPACE, FileSystem


class DeferredJournal(Journal):
    """The journal of an attempt, whose file is made with its first line.

    Until `require` is called, a disk without space costs nothing: the lines wait, and each further
    line tries again to write them. After that it is a journal like any other.

    Args:
        files: how to change the disk.
        layout: the run.
        clock: the source of time.
        attempt: the number of the attempt; none before had it.
    """

    def __init__(self, files: FileSystem, layout: RunLayout, clock: Clock, attempt: int) -> None:
        super().__init__(files, layout.attempt_journal(attempt), attempt, clock)
        self._layout = layout
        self._is_made = self._was_tried = False
        self._is_required = False
        self._waiting: list[tuple[Event, float]] = []

    def record_durable(self, event: Event, at: float | None = None) -> None:
        if self._is_required:
            super().record_durable(event, at)
            return
        self._waiting.append((event, self._clock.now() if at is None else at))
        try:
            self.flush()
        except StorageError as error:
            if error.errno not in NO_SPACE:
                raise

    def flush(self) -> None:
        """Makes the file if it is missing, and writes the lines that wait.

        Raises:
            StorageError: If the disk refuses; the lines wait on.
        """
        if not self._is_made:
            if self._was_tried:
                # The disk may have refused only the sync that makes the name durable.
                self._files.remove_file(self.path)
            self._was_tried = True
            make_journal_file(self._files, self._layout, self)
            self._is_made = True
        while self._waiting:
            super().record_durable(*self._waiting[0])
            del self._waiting[0]

    def require(self) -> None:
        """Writes what waits, and from now on raises if a line cannot be written.

        Raises:
            StorageError: If the disk refuses.
        """
        self.flush()
        self._is_required = True
