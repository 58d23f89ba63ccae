"""The launcher's lines on their way into the journal: a thread of its own writes them, so that
storage that hangs holds up no signal.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from ckptkit.clock import Clock
from ckptkit.log import logger
from ckptkit.run.events import Event
from ckptkit.run.journal import Journal


class JournalWriter:
    """Writes them durably, one after the other.

    Args:
        clock: where their time comes from, which is that of when they were told.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: SimpleQueue[tuple[Journal, Event, float]] = SimpleQueue()
        self._waiting = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, journal: Journal, event: Event) -> None:
        """A line for a journal; a journal that cannot be written costs its line, and no training."""
        with self._changed:
            self._waiting += 1
        self._queue.put((journal, event, self._clock.now()))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="ckptkit-lines", daemon=True)
            self._thread.start()

    def are_written(self, patience_secs: float) -> bool:
        """Whether all of them are on the disk, or were refused by it; waits for so long at most."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, patience_secs)

    def _write(self) -> None:
        while True:
            journal, event, at = self._queue.get()
            try:
                journal.record(event, at)
            except Exception as error:  # no start waits for ever for a line that nobody writes
                logger.warning("%s could not be told to the journal: %r", event.event, error)
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()
