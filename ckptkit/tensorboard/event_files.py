"""Reads and writes TensorBoard's event files, and decides which parts a repair keeps.

A file is a sequence of TFRecords. Each consists of the length of the data (8 bytes, little-endian),
the masked CRC-32C of the length (4 bytes), the data, and its masked CRC-32C (4 bytes). The data is
a protocol buffer `Event`; see TensorFlow's `record_writer.h` and `event.proto`.

TensorBoard reads every file with "tfevents" in its name, in the order of names, and stops at an
incomplete record. Its own loader gives no offsets and imports TensorFlow, so it is not used here.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ckptkit.storage.files import open_regular
from ckptkit.tensorboard.stale_points import WriterAttempt, owner_at

EVENT_FILE_PREFIX = "events.out.tfevents."
"""The beginning of the name of every event file, whichever library writes it."""

REWRITE_PREFIX = "events.out.cutting."
"""The beginning of the name of a file that is being rewritten, which TensorBoard ignores."""

_KEPT = "events.out.before-attempt-{attempt}{again}."
_MARK = re.compile(r"\.restart-\d+$")
_NAME = re.compile(re.escape(EVENT_FILE_PREFIX) + r"(?:\d+~)?(\d+)\.(.+)")
_EMPTY = ".profile-empty"
"""The end of the name of an empty event file that only announces a profile."""

_JITTER_SECS = 1.0
"""Seconds by which points of several threads may be out of order.

A larger difference means that the clock was set back.
"""

_ENDING_SECS = 10.0
"""Seconds after an attempt in which its last file may be created by another thread."""

_LEADING = re.compile(r"\d+")


@dataclass(frozen=True)
class EventFileName:
    """The name of an event file.

    Args:
        path: the file.
        time: the time in its name, in seconds since the epoch; TensorBoard reads files in this
            order.
        original_time: the time in its name before a repair renamed it to sort before others.
        rest: host, process and number, as `host.123.0.v2`.
    """

    path: Path
    time: int
    original_time: int
    rest: str

    @classmethod
    def parse(cls, path: Path) -> EventFileName | None:
        """Return the name of a file, or None if it is not an event file."""
        match = _NAME.fullmatch(path.name)
        leading = _LEADING.match(path.name.removeprefix(EVENT_FILE_PREFIX))
        if path.name.endswith(_EMPTY):
            return None
        return (
            cls(path, int(leading[0]), int(match[1]), match[2])
            if match is not None and leading is not None
            else None
        )

    @property
    def is_mark(self) -> bool:
        """Whether the file marks a restart."""
        return _MARK.search(self.rest) is not None

    def by(self, writers: Sequence[WriterAttempt]) -> list[WriterAttempt]:
        """Return the attempts that may have written the file.

        These are the attempts with the host and the process in its name that had not ended when it
        was created.

        Args:
            writers: all attempts of the run.
        """
        return [
            writer
            for writer in writers
            if self.rest.startswith(f"{writer.host}.{writer.pid}.")
            and self.original_time <= writer.ended + _ENDING_SECS
        ]

    def before(self, time: int) -> Path:
        """Return a path that sorts before all files of `time` and later, and after all others.

        Args:
            time: in seconds since the epoch.
        """
        # "~" sorts after the dot that follows the plain time of `time - 1`.
        return self.path.with_name(
            f"{EVENT_FILE_PREFIX}{time - 1:010d}~{self.original_time:010d}.{self.rest}"
        )


def mark_after(path: Path, attempt: int) -> Path:
    """Return the path of a restart mark that TensorBoard reads right after an event file."""
    return path.with_name(f"{path.name}.restart-{attempt:06d}")


def rewrite_path(path: Path) -> Path:
    """Return the path to which the next content of an event file is written."""
    return path.with_name(REWRITE_PREFIX + path.name.removeprefix(EVENT_FILE_PREFIX))


def rewritten_path(path: Path) -> Path:
    """Return the path of the event file that belongs to a path from `rewrite_path`."""
    return path.with_name(EVENT_FILE_PREFIX + path.name.removeprefix(REWRITE_PREFIX))


def backup_path(path: Path, attempt: int) -> Path:
    """Return a free path for the old content of an event file, which TensorBoard ignores.

    Args:
        path: the event file.
        attempt: the attempt that repairs it.

    Raises:
        FileExistsError: If no name is free.
    """
    for again in range(1_000_000):
        name = _KEPT.format(
            attempt=attempt, again=f"-{again}" if again else ""
        ) + path.name.removeprefix(EVENT_FILE_PREFIX)
        if not (found := path.with_name(name)).exists():
            return found
    raise FileExistsError(f"No free name for a backup of {path}.")


@dataclass(frozen=True)
class EventFileContent:
    """The result of reading an event file: the parts to keep, and the stale points.

    Args:
        stays: the parts to keep, as byte ranges.
        points: the number of stale points.
        last_step: the largest step of a kept point of the run, or -1.
        owned: whether any point belongs to the run.
        others_step: the largest step of a point outside of the run's attempts, or -1. Keras writes
            a graph at step 0 before an attempt begins.
    """

    stays: tuple[tuple[int, int], ...] = ()
    points: int = 0
    last_step: int = -1
    owned: bool = False
    others_step: int = -1

    @property
    def is_anothers(self) -> bool:
        """Return whether all measurements in the file belong to another training."""
        return not self.owned and self.others_step > 0


def find_kept_parts(
    path: Path, candidates: Sequence[WriterAttempt], *, settled: bool = False
) -> EventFileContent:
    """Read an event file record by record, and find the parts to keep.

    Stale points are the last points that a process wrote. So a point that looks stale is kept if a
    later point of the same attempt is kept: its time comes from a clock that was set back. Points
    that an attempt itself discarded when it restored a checkpoint are always stale, unless the
    clock was set back over that time.

    Args:
        path: the file.
        candidates: the attempts of its process.
        settled: whether no point is stale; reading then ends at the first point of the run.

    Raises:
        OSError: If it cannot be read, or is not a regular file.
    """
    scan = _EventScan()
    with open_regular(path) as file:
        for start, end, event in read_events(file):
            # Graphs, versions and session logs are not measurements, so they are kept. Without the
            # version record TensorBoard would not know the format.
            if not event.HasField("summary"):
                _add(scan.stays, start, end)
                continue
            writer = owner_at(candidates, event.wall_time)
            if writer is not None and settled:
                return EventFileContent(owned=True)
            scan.add_point(start, end, event, writer)
    return scan.content()


@dataclass
class _EventScan:
    """The state of a scan of an event file.

    Args:
        stays: the parts to keep.
        doubtful: parts with points that look stale; they are kept if a later point of the same
            attempt is kept.
        points: the number of points to remove.
        doubtful_points: the number of points in the doubtful parts.
        last_step: the largest step of a kept point of the run, or -1.
        doubtful_step: the largest step in the doubtful parts, or -1.
        others_step: the largest step of a point that belongs to none of the attempts, or -1.
        current: the attempt that wrote the last point of the run.
        latest: the latest time of a point.
    """

    stays: list[tuple[int, int]] = field(default_factory=list)
    doubtful: list[tuple[int, int]] = field(default_factory=list)
    points: int = 0
    doubtful_points: int = 0
    last_step: int = -1
    doubtful_step: int = -1
    others_step: int = -1
    current: WriterAttempt | None = None
    latest: float = -math.inf

    def add_point(self, start: int, end: int, event: Any, writer: WriterAttempt | None) -> None:
        """Decide whether a point is kept, removed or doubtful; `writer` is its attempt, if any."""
        if writer is not None and writer is not self.current:
            # Another attempt of this process follows, so the doubtful points of the last one are
            # removed.
            self.current, self.points = writer, self.points + self.doubtful_points
            self._forget_doubtful()
        self.latest = max(self.latest, event.wall_time)
        if (
            writer is not None
            and event.wall_time > self.latest - _JITTER_SECS
            and writer.is_gone(event.wall_time)
        ):
            self.points += 1
            return
        if writer is not None and event.wall_time > writer.until:
            _add(self.doubtful, start, end)
            self.doubtful_points += 1
            self.doubtful_step = max(self.doubtful_step, event.step)
            return
        # Also a point from before the attempt began, because the clock was set back.
        if self.current is not None and event.wall_time <= self.current.until:
            self.stays += self.doubtful
            self.last_step = max(self.last_step, self.doubtful_step)
            self._forget_doubtful()
        _add(self.stays, start, end)
        if writer is not None:
            self.last_step = max(self.last_step, event.step)
        else:
            self.others_step = max(self.others_step, event.step)

    def _forget_doubtful(self) -> None:
        """Forget all doubtful parts."""
        self.doubtful, self.doubtful_points, self.doubtful_step = [], 0, -1

    def content(self) -> EventFileContent:
        """Return the content of the file, without the parts that are still doubtful."""
        joined = list[tuple[int, int]]()
        for part in sorted(self.stays):
            _add(joined, *part)
        return EventFileContent(
            tuple(joined),
            self.points + self.doubtful_points,
            self.last_step,
            self.current is not None,
            self.others_step,
        )


def _add(parts: list[tuple[int, int]], start: int, end: int) -> None:
    """Append a part, merged with the previous one, so that a large file has few parts."""
    if parts and parts[-1][1] == start:
        parts[-1] = parts[-1][0], end
    else:
        parts.append((start, end))


def read_events(file: BinaryIO) -> Iterator[tuple[int, int, Any]]:
    """Yield the events of a file with their byte ranges, up to the first incomplete record.

    A process that is killed while it writes leaves an incomplete record.

    Args:
        file: open for reading.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    size, start = file.seek(0, 2), 0
    file.seek(0)
    while len(header := file.read(12)) == 12:
        length, checksum = struct.unpack("<QI", header)
        end = start + 16 + length
        if masked_crc32c(header[:8]) != checksum or end > size:
            return
        data = file.read(length)
        file.seek(4, 1)  # the data's checksum is not compared: in Python that takes a second per MB
        try:
            event = Event.FromString(data)
        except DecodeError:
            return
        yield start, end, event
        start = end


def encode_record(event: Any) -> bytes:
    """Return an event as the bytes of a record."""
    import io

    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue()


def version_record(now: float) -> bytes:
    """Return the record that every event file begins with.

    Args:
        now: in seconds since the epoch.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    return encode_record(Event(wall_time=now, file_version="brain.Event:2"))


def restart_mark(step: int, now: float) -> bytes:
    """Return the content of an event file that marks a restart.

    A reader drops points in memory from `step` on. TensorBoard treats the first mark of a directory
    as its beginning and obeys later ones, so the content has two marks.

    Args:
        step: the first step that is written again.
        now: the current time, in seconds since the epoch.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    start = encode_record(
        Event(wall_time=now, step=step, session_log=SessionLog(status=SessionLog.START))
    )
    return version_record(now) + start + start


def restart_step(path: Path) -> int:
    """Return the step of a restart mark, or 0 if it has none.

    Raises:
        OSError: If it cannot be read.
    """
    with open_regular(path) as file:
        return max((int(event.step) for _, _, event in read_events(file)), default=0)


def scalars_record(step: int, now: float, values: Mapping[str, float]) -> bytes:
    """Return one point of several scalars as a record."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    return _summary(step, now, [scalar_pb(name, value) for name, value in values.items()])


def text_record(step: int, now: float, name: str, markdown: str) -> bytes:
    """Return a text as a record."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return _summary(step, now, [text_pb(name, markdown)])


def _summary(step: int, now: float, parts: Iterable[Any]) -> bytes:
    """Return one event with the values of several summaries, as a record."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return encode_record(
        Event(
            wall_time=now,
            step=step,
            summary=Summary(value=[value for part in parts for value in part.value]),
        )
    )
