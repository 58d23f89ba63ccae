"""Writes the launcher's events to the journal on a thread of its own.

Storage that hangs then delays no signal and no deadline.
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
    """Queue of events, which are written durably and in their order.

    Args:
        clock: gives each event the time at which it was added, not that of its write.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: SimpleQueue[tuple[Journal, Event, float]] = SimpleQueue()
        self._unwritten = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._lost_events: dict[Path, int] = {}
        """Journals that refused the last event, and how many events they refused in a row."""

    def add(self, journal: Journal, event: Event) -> None:
        """Queue an event; a journal that refuses it loses the event, and the training continues."""
        with self._changed:
            self._unwritten += 1
        self._queue.put((journal, event, self._clock.now()))
        if self._thread is None:
            self._thread = start_or_warn("ckptkit-journal", self._write_all)
        if self._thread is None:
            # Late signals are better than a journal that stays empty: starts wait for it.
            while not self._queue.empty():
                self._write_next()

    def is_written(self, patience_secs: float) -> bool:
        """Return whether all events are on the disk or were refused by it.

        Args:
            patience_secs: the longest time to wait for that.
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
        except Exception as error:  # an error of any kind would end this thread, and starts hang
            lost = self._lost_events.get(journal.path, 0)
            self._lost_events[journal.path] = lost + 1
            if not lost:  # storage that is away for hours gives one warning, not one for each event
                logger.warning(
                    "could not write %s to the launcher's journal; the training is supervised "
                    "without it: %s",
                    event.event,
                    error,
                )
        with self._changed:
            self._unwritten -= 1
            self._changed.notify_all()

    def _report_lost(self, journal: Journal) -> None:
        lost = self._lost_events.pop(journal.path, 0)
        if lost:
            logger.warning("the launcher's journal is written again; %d events are missing", lost)
            what = f"write {lost} events to the launcher's journal"
            with suppress(OSError):
                journal.record_durable(TidyingFailed(what=what, message="the storage refused them"))
