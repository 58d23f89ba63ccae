"""The journal: what happened, one JSON line an event, one file an attempt; merged on reading."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ckptkit.clock import Clock
from ckptkit.store.events import EVENT_VERSION, EVENTS, Event
from ckptkit.store.files import FileSystem, storage_errors
from ckptkit.store.layout import CheckpointName, RunLayout, journal_attempt, writing_attempt

MAX_LINE_BYTES = 1024 * 1024


class Journal:
    """Appends events to the file of one attempt.

    Args:
        files: how to change the disk.
        path: the attempt's own file.
        attempt: its number.
        clock: where the time comes from.
    """

    def __init__(self, files: FileSystem, path: Path, attempt: int, clock: Clock) -> None:
        self._files = files
        self._path = path
        self._clock = clock
        self.attempt = attempt

    def record(self, event: Event) -> None:
        """Writes one line, durably, with the time of now.

        Raises:
            StorageError: where it cannot be written.
        """
        event = dataclasses.replace(event, time=self._clock.now(), attempt=self.attempt)
        self._files.append(self._path, encode_line(event))


def encode_line(event: Event) -> bytes:
    """An event as a line of the journal."""
    return msgspec.json.encode({"v": EVENT_VERSION, "event": event.event, **msgspec.to_builtins(event)}) + b"\n"


def start_attempt(files: FileSystem, layout: RunLayout, clock: Clock) -> Journal:
    """Takes the next number that no attempt has had, and opens its journal.

    Raises:
        StorageError: where the disk refuses.
    """
    files.make_dir(layout.journal)
    attempt = 1 + max(_known_attempts(layout), default=0)
    path = layout.attempt_journal(attempt)
    files.create(path, b"")
    files.sync_dir(layout.journal)
    return Journal(files, path, attempt, clock)


def _known_attempts(layout: RunLayout) -> list[int]:
    """Numbers in use, also where the journal was lost and only checkpoints are left."""
    numbers: list[int] = []
    readers: list[tuple[Path, Callable[[str], int | None]]] = [
        (layout.journal, journal_attempt),
        (layout.checkpoints, lambda name: parsed.attempt if (parsed := CheckpointName.parse(name)) else None),
        (layout.checkpoints, writing_attempt),
    ]
    for directory, number_of in readers:
        if directory.exists():
            with storage_errors("list", directory):
                numbers += [n for path in directory.iterdir() if (n := number_of(path.name)) is not None]
    return numbers


@dataclass(frozen=True)
class JournalView:
    """What a run's journals say.

    Args:
        events: in the order of time; those of one attempt as they were written, also where the clock went back.
        damaged: lines that could not be read, as `file:line: why`; a process that was killed may leave one.
    """

    events: tuple[Event, ...]
    damaged: tuple[str, ...]


def read_journal(layout: RunLayout) -> JournalView:
    """Reads and merges the journals of all attempts and of the launcher.

    Raises:
        StorageError: where a file cannot be read.
    """
    if not layout.journal.exists():
        return JournalView((), ())
    events: list[tuple[float, Event]] = []
    damaged: list[str] = []
    with storage_errors("list", layout.journal):
        paths = sorted(path for path in layout.journal.iterdir() if path.suffix == ".jsonl")
    for path in paths:
        if not path.is_file():
            damaged.append(f"{path.name}: no regular file")
            continue
        time = 0.0
        with storage_errors("read", path), path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    event = decode_line(line)
                except (msgspec.DecodeError, ValueError, RecursionError, UnicodeDecodeError) as error:
                    damaged.append(f"{path.name}:{number}: {error}")
                else:
                    if event is not None:
                        time = max(time, event.time)
                        events.append((time, event))
    events.sort(key=lambda pair: pair[0])
    return JournalView(tuple(event for _, event in events), tuple(damaged))


def decode_line(line: bytes) -> Event | None:
    """The event that a line spells, or None where its kind is not known to this version.

    Raises:
        ValueError: where it is no line of a journal.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"a line of {len(line):,} bytes; at most {MAX_LINE_BYTES:,} are read")
    data = msgspec.json.decode(line)
    if not isinstance(data, dict) or not isinstance(data.get("event"), str):
        raise ValueError("no JSON object with an event's name")
    cls = EVENTS.get(data["event"])
    return None if cls is None else msgspec.convert(data, cls)



