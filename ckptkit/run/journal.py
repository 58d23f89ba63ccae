"""Writes the journal: one JSON line for each event, one file for each attempt.

A failed line, or failed work after a commit, is reported and does not end a training. A process
that frees space has to take the run first, and to record what it does. On a disk without a free
block or inode neither the file of its journal nor a line in it can be written before it has removed
something; `DeferredJournal` is for that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ckptkit.clock import Clock
from ckptkit.errors import StorageError
from ckptkit.layout import (
    CheckpointName,
    RunLayout,
    fence_attempt,
    journal_attempt,
    writing_attempt,
)
from ckptkit.log import logger
from ckptkit.run.events import EVENT_VERSION, Event, TidyingFailed
from ckptkit.storage.files import DISK, NO_SPACE, FileSystem, names_in
from ckptkit.storage.json_bytes import json_bytes
from ckptkit.storage.symlinks import refuse_links

LAUNCHER = 0
"""The attempt number in a launcher's lines."""


class Journal:
    """Appends events to the file of one attempt.

    Args:
        files: how to change the disk.
        path: the file of the attempt.
        attempt: its number.
        clock: gives events their time.
    """

    def __init__(self, files: FileSystem, path: Path, attempt: int, clock: Clock) -> None:
        self._files = files
        self.path = path
        self._clock = clock
        self._torn = False
        self._lost = 0
        self._loss = ""
        self.attempt = attempt

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._clock.now()

    def record(self, event: Event, at: float | None = None) -> None:
        """Write one line and sync it; if that fails, the line is lost and training continues.

        No checkpoint depends on the journal, so a full disk must not end a training here. The first
        lost line is logged. As soon as the journal can be written again, it records how many lines
        are missing.

        Args:
            event: the event to record.
            at: when it happened, in seconds since the epoch; None for now.
        """
        try:
            self.record_durable(event, at)
        except StorageError as error:
            self._lost += 1
            if self._lost == 1:
                self._loss = str(error)
                logger.warning(
                    "could not write %s to the journal; lines are lost until this works again. "
                    "The checkpoints are safe, and training continues: %s",
                    event.event,
                    error,
                )

    def record_durable(self, event: Event, at: float | None = None) -> None:
        """Write one line that later decisions depend on, or raise an error.

        These are `attempt_started` (it reserves the attempt number), `set_aside` (its label must
        not act twice) and `rolled_back` (it is the user's decision). Each is written before any
        value is assigned.

        Args:
            event: the event to record.
            at: when it happened, in seconds since the epoch; None for now.

        Raises:
            StorageError: If it cannot be written.
        """
        event = dataclasses.replace(
            event, time=self._clock.now() if at is None else at, attempt=self.attempt
        )
        line = encode_line(event)
        try:
            self._files.append(self.path, b"\n" + line if self._torn else line)
        except StorageError:
            self._torn = True  # the file may end with half a line that could not be removed
            raise
        self._torn = False
        if self._lost:
            lost, message, self._lost = self._lost, self._loss, 0
            what = f"write {lost} lines to the journal"
            self.record(TidyingFailed(what=what, message=message))
            if self._lost:  # count that line too, so that the next one reports all
                self._lost += lost


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


@contextmanager
def best_effort(journal: Journal, what: str) -> Iterator[None]:
    """Turn a `StorageError` in the block into a warning and a line of the journal.

    Args:
        journal: the journal of this attempt.
        what: the work of the block in words, as after "could not".
    """
    try:
        yield
    except StorageError as error:
        logger.warning(
            "could not %s; the checkpoints are safe, and training continues: %s", what, error
        )
        journal.record(TidyingFailed(what=what, message=str(error)))


def encode_line(event: Event) -> bytes:
    """Return an event as a line of the journal."""
    return (
        json_bytes({"v": EVENT_VERSION, "event": event.event, **msgspec.to_builtins(event)}) + b"\n"
    )


def next_attempt(layout: RunLayout, files: FileSystem = DISK) -> int:
    """Return the number of the next attempt: one more than the highest number ever used.

    Checkpoints and other names are searched too, because journals may have been lost.

    Raises:
        StorageError: If a directory cannot be read.
    """
    numbers = [0]
    readers: list[tuple[Path, Callable[[str], int | None]]] = [
        (layout.journal, journal_attempt),
        (
            layout.checkpoints,
            lambda name: parsed.attempt if (parsed := CheckpointName.parse(name)) else None,
        ),
        (layout.checkpoints, writing_attempt),
        (layout.checkpoints, fence_attempt),
    ]
    for directory, number_of in readers:
        names = names_in(files, directory)
        numbers += [n for name in names if (n := number_of(name)) is not None]
    return 1 + max(numbers)


def start_journal(files: FileSystem, layout: RunLayout, clock: Clock, attempt: int) -> Journal:
    """Open the journal of a new attempt.

    Raises:
        StorageError: If the disk refuses.
    """
    return make_journal_file(
        files, layout, Journal(files, layout.attempt_journal(attempt), attempt, clock)
    )


def start_launcher_journal(
    files: FileSystem, layout: RunLayout, clock: Clock, launcher: str
) -> Journal:
    """Open the journal of a launcher under a unique id.

    Raises:
        StorageError: If the disk refuses, or a directory of the run is a link.
    """
    refuse_links(layout)
    return make_journal_file(
        files, layout, Journal(files, layout.launcher_journal(launcher), LAUNCHER, clock)
    )


def make_journal_file(files: FileSystem, layout: RunLayout, journal: Journal) -> Journal:
    """Create the file of a journal durably.

    Raises:
        StorageError: If the disk refuses, or the file exists.
    """
    files.make_dir(layout.journal)
    files.create(journal.path, b"")
    files.sync_dir(layout.journal)
    _sync_parents(files, layout)
    return journal


def _sync_parents(files: FileSystem, layout: RunLayout) -> None:
    """Make the parent directories of the run durable.

    The process that created them may have been killed before it could do that.
    """
    files.sync_dir(layout.root)
    with suppress(StorageError):  # this process may not be allowed to open a parent directory
        files.sync_dir(layout.root.absolute().parent)
