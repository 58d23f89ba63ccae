"""Removes the rows that a run wrote into a `CSVLogger`'s file after the restored checkpoint.

Several runs may write to one file. So each row is noted in the journal before it is written, and
only lines that were noted are removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import keras

from ckptkit.keras.open_callback_files import flush_open_files
from ckptkit.log import logger
from ckptkit.run.events import CsvRow, Event, SetAside
from ckptkit.run.fresh_start import this_life

_MOST_ROW_CHARACTERS = 64 * 1024
"""A longer row is not noted, and stays."""

WANTED = (CsvRow, SetAside)
"""The events that `remove_later_rows` reads."""


class RowRecorder:
    """The open file of a `CSVLogger`, which notes each row before it is written.

    Args:
        file: the file.
        name: the name by which the callback knows it.
        record: called with an event for each row.
    """

    def __init__(self, file: Any, name: str, record: Callable[[Event], None]) -> None:
        self._file, self._name, self._record = file, name, record

    def write(self, text: str) -> int:
        """Note a row and write it; the writer of `csv` passes whole rows."""
        if len(text) <= _MOST_ROW_CHARACTERS:
            # A process that dies between the two has noted a row that is nowhere: that does no
            # harm. The other order would leave a row that nobody knows to be this run's.
            self._record(CsvRow(file=self._name, after=_size_of(self._name), text=text))
        return int(self._file.write(text))

    def __getattr__(self, name: str) -> Any:
        if name == "_file":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._file, name)


def csv_loggers(callbacks: Iterable[Any]) -> list[Any]:
    """Return the callbacks that are a `CSVLogger`."""
    return [each for each in callbacks if isinstance(each, keras.callbacks.CSVLogger)]


def has_csv_files(callbacks: Iterable[Any]) -> bool:
    """Whether a `CSVLogger` is among the callbacks."""
    return bool(csv_loggers(callbacks))


def keep_csv_files(callbacks: Iterable[Any]) -> None:
    """Make `CSVLogger` append to its file, which it would otherwise empty on a resume."""
    for callback in csv_loggers(callbacks):
        callback.append = True


def record_rows(callbacks: Iterable[Any], record: Callable[[Event], None]) -> None:
    """Make each `CSVLogger` note its rows; called when it has opened its file.

    Args:
        callbacks: all other callbacks.
        record: called with an event for each row.
    """
    for callback in csv_loggers(callbacks):
        file = callback.csv_file
        # A writer that exists is bound to the plain file already.
        if file is not None and callback.writer is None and not isinstance(file, RowRecorder):
            callback.csv_file = RowRecorder(file, str(callback.filename), record)


def csv_file_sizes(callbacks: Iterable[Any]) -> dict[str, int]:
    """Return the sizes of the files of `CSVLogger` in bytes, by file name."""
    flush_open_files(callbacks)  # flushed, because the size has to include buffered lines
    return {
        str(callback.filename): os.path.getsize(callback.filename)
        for callback in csv_loggers(callbacks)
        if os.path.exists(callback.filename)
    }


def remove_later_rows(
    callbacks: Iterable[Any], sizes: Mapping[str, int], journal: Iterable[Event]
) -> None:
    """Remove rows that this run wrote after the checkpoint, because they will be repeated.

    Args:
        callbacks: all other callbacks.
        sizes: the sizes of the files when the checkpoint was taken, in bytes, by file name.
        journal: the events of the run.
    """
    rows = [event for event in this_life(list(journal)) if isinstance(event, CsvRow)]
    for callback in csv_loggers(callbacks):
        name = str(callback.filename)
        if name in sizes and os.path.exists(name):
            noted = [row.text for row in rows if row.file == name and row.after >= sizes[name]]
            _remove_rows(
                name, sizes[name], {text.encode("utf-8", "surrogateescape") for text in noted}
            )
            callback.append_header = _size_of(name) == 0


def _remove_rows(name: str, size: int, noted: Collection[bytes]) -> None:
    """Remove noted rows from the part of a file after `size` bytes, and warn of what stays."""
    if _size_of(name) < size:
        logger.warning(
            "%s is shorter than it was when the checkpoint was taken, so it is another file, or "
            "was cut. Its lines stay, and rows of repeated epochs follow",
            name,
        )
        return
    with open(name, "r+b") as file:
        file.seek(size)
        tail = file.read()
        kept, foreign = without_rows(tail, noted)
        # Another program may have written meanwhile: then nothing is changed.
        if kept != tail and os.fstat(file.fileno()).st_size == size + len(tail):
            os.pwrite(file.fileno(), kept, size)
            os.ftruncate(file.fileno(), size + len(kept))
    if foreign:
        logger.warning(
            "%s has %d lines after the checkpoint that another program may have written, so they "
            "stay. If this run has written them, its repeated epochs are in the file twice. Give "
            "each run its own file",
            name,
            foreign,
        )


def without_rows(tail: bytes, noted: Collection[bytes]) -> tuple[bytes, int]:
    """Return a part of a file without the rows that were noted; pure.

    Each row is removed once: a second line that is equal is another run's. A header stays if other
    lines do. The beginning of a row without its end is what a killed process has left of it.

    Args:
        tail: the part of the file.
        noted: the rows, each with its line's end.

    Returns:
        What stays, and how many lines that is.
    """
    left = set(noted)
    kept: list[bytes] = []
    header = b""
    for line in tail.splitlines(keepends=True):
        if line in left:
            left.remove(line)
            header = line if line.startswith(b"epoch") else header
        elif line.endswith(b"\n") or not any(row.startswith(line) for row in left):
            kept.append(line)
    foreign = len(kept)
    return (header + b"".join(kept) if kept else b""), foreign


def _size_of(name: str) -> int:
    try:
        return os.path.getsize(name)
    except OSError:
        return 0
