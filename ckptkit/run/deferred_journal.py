"""A journal that keeps its lines in memory while the disk is full.

A process that frees space has to own the run first, and has to record its changes. On a full disk
it can write neither the journal's file nor a line before it has removed something.
"""

from __future__ import annotations

from ckptkit.clock import Clock
from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout
from ckptkit.run.events import Event
from ckptkit.run.journal import Journal, make_journal_file
from ckptkit.storage.files import NO_SPACE, FileSystem


class DeferredJournal(Journal):
    """The journal of an attempt, which creates its file with the first line.

    Until `require` is called, a full disk raises no error: lines wait in memory, and each further
    line tries again to write them. After that it behaves like every journal.

    Args:
        files: how to change the disk.
        layout: the run.
        clock: the source of time.
        attempt: the number of the attempt, which no earlier attempt has used.
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
        """Create the file if it is missing, and write the waiting lines.

        Raises:
            StorageError: If the disk refuses; the lines keep waiting.
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
        """Write the waiting lines, and from now on raise if a line cannot be written.

        Raises:
            StorageError: If the disk refuses.
        """
        self.flush()
        self._is_required = True
