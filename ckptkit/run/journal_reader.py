"""Reads the journal: the lines of every attempt and launcher of a run, merged by time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from operator import itemgetter, le
from pathlib import Path

import msgspec

from ckptkit.layout import RunLayout
from ckptkit.run.events import EVENTS, Event
from ckptkit.run.fresh_start_records import mended_by_records
from ckptkit.storage.files import DISK, FileSystem, names_in, storage_errors
from ckptkit.storage.proof_of_damage import proven_damage

_HEAD = b'{"v":1,"event":"'
"""Matches the beginning of each line that this version writes; other lines are read too, but
slower."""

_HEAD_BYTES = len(_HEAD)


class _Decoders(dict[bytes, Callable[[bytes], Event] | None]):
    """The decoders of lines, by the text with which a line begins; None for all other lines.

    A decoder for one kind builds no dictionary first, which makes reading twice as fast.
    """

    def __missing__(self, start: bytes) -> Callable[[bytes], Event] | None:
        cls = (
            EVENTS.get(start.removeprefix(_HEAD).decode(errors="replace"))
            if start.startswith(_HEAD)
            else None
        )
        if cls is None:
            return None
        self[start] = msgspec.json.Decoder(cls).decode
        return self[start]


_DECODERS = _Decoders()
_skim = msgspec.json.Decoder(Event).decode
"""Decode only the fields that all events have, and check that the rest is JSON."""

MAX_LINE_BYTES = 1024 * 1024
MAX_JOURNAL_BYTES = 256 * 1024 * 1024
"""The most bytes that are read from one file; half a million saves need half of that."""


@dataclass(frozen=True)
class JournalView:
    """The merged events of all journals of a run.

    Args:
        events: the events in the order of time; events of one attempt stay in the order in which
            they were written.
        damaged: the lines that could not be read, as `file:line: why`; a killed process may leave
            one.
    """

    events: tuple[Event, ...]
    damaged: tuple[str, ...]


def read_journal(
    layout: RunLayout,
    *,
    wanted: Collection[type[Event]] | None = None,
    files: FileSystem = DISK,
) -> JournalView:
    """Read and merge the journals of all attempts and of the launchers.

    Args:
        layout: the layout of the run.
        files: how the disk is read.
        wanted: the kinds of events to read completely. Of all other kinds, only the last event in
            each file is complete; the rest are plain `Event`s with time and attempt. By default all
            are complete, which takes twice as long.

    Raises:
        StorageError: If a file cannot be read.
    """
    damaged: list[str] = []
    names = names_in(files, layout.journal)
    paths = [layout.journal / name for name in names if Path(name).suffix == ".jsonl"]
    whole = None if wanted is None else frozenset(_HEAD + cls.event.encode() for cls in wanted)
    found = [_events(path, damaged, whole, files=files) for path in paths]
    return JournalView(_merged(mended_by_records(found, layout, files)), tuple(damaged))


def read_attempt(layout: RunLayout, attempt: int) -> tuple[Event, ...]:
    """Return the events of one attempt so far, in the order in which they were written.

    Raises:
        StorageError: If the file cannot be read.
    """
    return _read(layout.attempt_journal(attempt))


def read_launcher(layout: RunLayout, launcher: str) -> tuple[Event, ...]:
    """Return the events of one launcher so far, in the order in which they were written.

    Raises:
        StorageError: If the file cannot be read.
    """
    return _read(layout.launcher_journal(launcher))


def _read(path: Path) -> tuple[Event, ...]:
    return tuple(_events(path, [])) if path.exists() else ()


def _merged(files: Sequence[Sequence[Event]]) -> tuple[Event, ...]:
    """Merge the events of all files by time; events of one file keep their order.

    They keep it even if the clock went backwards, because each event counts with the latest time
    before it.
    """
    events = tuple(chain.from_iterable(files))
    times = [event.time for event in events]
    if all(map(le, times, islice(times, 1, None))):
        return events  # the usual case: an attempt begins after the previous one has ended
    never_back = chain.from_iterable(
        accumulate((event.time for event in file), max) for file in files
    )
    return tuple(
        event for _, event in sorted(zip(never_back, events, strict=True), key=itemgetter(0))
    )


def _events(
    path: Path,
    damaged: list[str],
    whole: Collection[bytes] | None = None,
    *,
    files: FileSystem = DISK,
) -> list[Event]:
    """Read the events of a file in their order.

    Args:
        path: the file.
        damaged: a list to which unreadable lines are added.
        whole: the beginnings of wanted lines; other lines are skimmed, except the last of each
            kind. None reads all.
        files: how the disk is read.
    """
    events: list[Event] = []
    skimmed: dict[bytes, tuple[int, int, bytes]] = {}
    for number, line in _lines(path, damaged, files):
        try:
            start = line[: line.find(b'"', _HEAD_BYTES)]
            decode = _DECODERS[start]
            if decode is None or len(line) > MAX_LINE_BYTES:
                event = decode_line(line)
            elif whole is None or start in whole:
                event = decode(line)
            else:
                event = _skim(line)
                skimmed[start] = len(events), number, line
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
            damaged.append(f"{path.name}:{number}: {error}")
        else:
            if event is not None:
                events.append(event)
    for at, number, line in skimmed.values():
        try:
            events[at] = decode_line(line) or events[at]
        except ValueError as error:  # a line in which only a field has the wrong type
            damaged.append(f"{path.name}:{number}: {error}")
    return events


def _lines(path: Path, damaged: list[str], files: FileSystem) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers.

    A line that is too long is cut, but stays too long, so that decoding rejects it.
    """
    with storage_errors("read", path):
        try:
            file = files.open_read(path)
        except OSError as error:
            if proven_damage(error, path, files) is None:
                raise
            damaged.append(f"{path.name}: {error.strerror}")
            return
        with file:
            number = read = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                read += len(line)
                if line != b"\n":
                    yield number, line
                while (
                    len(line) > MAX_LINE_BYTES
                    and not line.endswith(b"\n")
                    and read <= MAX_JOURNAL_BYTES
                ):
                    line = file.readline(MAX_LINE_BYTES + 1)
                    read += len(line)
                if read > MAX_JOURNAL_BYTES:
                    damaged.append(
                        f"{path.name}: only the first {MAX_JOURNAL_BYTES:,} bytes are read"
                    )
                    return


def decode_line(line: bytes) -> Event | None:
    """Return the event in a line, or None if this version does not know its kind.

    Raises:
        ValueError: If it is not a line of a journal.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(
            f"the line has {len(line):,} bytes; at most {MAX_LINE_BYTES:,} are allowed"
        )
    data = msgspec.json.decode(line)
    if not isinstance(data, dict) or not isinstance(data.get("event"), str):
        raise ValueError("not a JSON object with an event's name")
    cls = EVENTS.get(data["event"])
    return None if cls is None else msgspec.convert(data, cls)
