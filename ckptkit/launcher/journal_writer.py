"""Writes the launcher's events to the journal on a thread of its own.

So storage that hangs delays no signal and no deadline.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from ckptkit.clock import Clock
from ckptkit.launcher.launcher_threads import start_or_warn
from ckptkit.log import logger
from ckptkit.run.events import Event, TidyingFailed
from ckptkit.run.journal import Journal


class JournalWriter:
    """A queue of events that its thread writes durably and in order.

    Args:
        clock: gives each event the time at which it was added to the queue.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: SimpleQueue[tuple[Journal, Event, float]] = SimpleQueue()
        self._unwritten = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._lost_events: dict[Path, int] = {}
        """The number of consecutive events that could not be written, for each journal that
        fails."""

    def add(self, journal: Journal, event: Event) -> None:
        """Queue an event for a journal. If it cannot be written, it is lost."""
        with self._changed:
            self._unwritten += 1
        self._queue.put((journal, event, self._clock.now()))
        if self._thread is None:
            self._thread = start_or_warn("ckptkit-journal", self._write_all)
        if self._thread is None:
            # No thread: written here. That may delay signals, but starts wait for the journal.
            while not self._queue.empty():
                self._write_next()

    def is_written(self, patience_secs: float) -> bool:
        """Wait until all events are written or lost; return whether that happened in time.

        Args:
            patience_secs: the longest time to wait.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._unwritten, patience_secs)

    def _write_all(self) -> None:
        while True:
            self._write_next()

    def _write_next(self) -> None:
        journal, event, at = self._queue.get()
        try:
            journal.record_durable(event, at)
            self._report_lost(journal)
        except (
            Exception
        ) as error:  # any uncaught error would end this thread, and starts would hang
            lost = self._lost_events.get(journal.path, 0)
            self._lost_events[journal.path] = lost + 1
            if (
                not lost
            ):  # storage that is unreachable for hours causes one warning, not one for each event
                logger.warning(
                    "could not write %s to the launcher's journal (%s); supervision continues",
                    event.event,
                    error,
                )
        with self._changed:
            self._unwritten -= 1
            self._changed.notify_all()

    def _report_lost(self, journal: Journal) -> None:
        lost = self._lost_events.pop(journal.path, 0)
        if lost:
            logger.warning(
                "the launcher's journal can be written again; %d events are missing", lost
            )
            what = f"write {lost} events to the launcher's journal"
            with suppress(OSError):
                journal.record_durable(
                    TidyingFailed(what=what, message="the storage refused to write them")
                )
