"""TensorBoard's event files: their names, their records, and what may be cut out of one.

A file is a sequence of TFRecords: the length of the data (8 bytes, little-endian), its masked
CRC-32C (4 bytes), the data, which is an `Event` as protocol buffer, and its masked CRC-32C (4
bytes); see TensorFlow's `record_writer.h` and `event.proto`. TensorBoard reads every file with
"tfevents" in its name, in the order of names, and stops at a record that is torn. TensorBoard's own
loader tells no offsets, and imports TensorFlow.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ckptkit.storage.safe_read import open_regular
from ckptkit.tensorboard.orphans import EventWriter, owner

READ = "events.out.tfevents."
"""How the names of event files begin, whichever library writes them."""

CUTTING = "events.out.cutting."
"""How the name of one begins that is being written anew: TensorBoard does not read it."""

_KEPT = "events.out.before-attempt-{attempt}{again}."
_MARK = re.compile(r"\.restart-\d+$")
_NAME = re.compile(re.escape(READ) + r"(?:\d+~)?(\d+)\.(.+)")
_EMPTY = ".profile-empty"
"""An event file of this name says that there is a profile, and holds nothing."""

_JITTER_SECS = 1.0
"""Points of several threads may be so much out of order; a time that is earlier by more is one of a
clock that was set back.
"""

_ENDING_SECS = 10.0
"""So long after an attempt its last file may be begun: the run's own are written on another thread.
"""

_LEADING = re.compile(r"\d+")


@dataclass(frozen=True)
class Named:
    """The name of an event file.

    Args:
        path: the file.
        time: with which its name begins, in seconds since the epoch; TensorBoard reads in this
            order.
        original_time: with which it began before it was put before others.
        rest: host, process and number, as `host.123.0.v2`.
    """

    path: Path
    time: int
    original_time: int
    rest: str

    @classmethod
    def parse(cls, path: Path) -> Named | None:
        """The name of a file, or None where it is no event file."""
        match = _NAME.fullmatch(path.name)
        leading = _LEADING.match(path.name.removeprefix(READ))
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

    def by(self, writers: Sequence[EventWriter]) -> list[EventWriter]:
        """Those whose process the name tells of, and that had not ended when the file was begun."""
        return [
            writer
            for writer in writers
            if self.rest.startswith(f"{writer.host}.{writer.pid}.")
            and self.original_time <= writer.ended + _ENDING_SECS
        ]

    def before(self, time: int) -> Path:
        """The name that sorts before all of `time` and later, and after all others."""
        return self.path.with_name(f"{READ}{time - 1:010d}~{self.original_time:010d}.{self.rest}")


def mark_after(path: Path, attempt: int) -> Path:
    """The name of a mark that TensorBoard reads right after an event file."""
    return path.with_name(f"{path.name}.restart-{attempt:06d}")


def cutting(path: Path) -> Path:
    """Where the next content of an event file is written."""
    return path.with_name(CUTTING + path.name.removeprefix(READ))


def cut_from(path: Path) -> Path:
    """The event file whose next content lies there; see `cutting`."""
    return path.with_name(READ + path.name.removeprefix(CUTTING))


def kept(path: Path, attempt: int) -> Path:
    """A free name for what an event file was before an attempt, which TensorBoard does not read."""
    for again in range(1_000_000):
        name = _KEPT.format(
            attempt=attempt, again=f"-{again}" if again else ""
        ) + path.name.removeprefix(READ)
        if not (found := path.with_name(name)).exists():
            return found
    raise FileExistsError(f"No name is free beside {path}.")


@dataclass(frozen=True)
class FoundEvents:
    """What an event file holds.

    Args:
        stays: the parts that stay, from byte to byte.
        points: how many points go.
        last_step: the largest step of a point of the run that stays, or -1.
        owned: whether a point is of the run.
        others_step: the largest step of a point that is of none of its attempts, or -1. Keras
            writes a graph at step 0 before an attempt begins.
    """

    stays: tuple[tuple[int, int], ...] = ()
    points: int = 0
    last_step: int = -1
    owned: bool = False
    others_step: int = -1

    @property
    def is_anothers(self) -> bool:
        """Whether all that was measured there is of something else."""
        return not self.owned and self.others_step > 0


def look(path: Path, candidates: Sequence[EventWriter], *, settled: bool = False) -> FoundEvents:
    """Reads an event file, one record at a time.

    Orphans are what a process wrote last. So where a point is followed by one that stays, of the
    same attempt, it stays, too: its time is one of a clock that was set back. What an attempt went
    back behind goes in any case, but not where the clock shows such a time again.

    Args:
        path: the file.
        candidates: the attempts that its process has made.
        settled: nothing has to go, and it is only asked whether it is of the run: a point that is
            ends the reading.

    Raises:
        OSError: where it cannot be read, or is no regular file.
    """
    stays, doubtful = (
        list[tuple[int, int]](),
        list[tuple[int, int]](),
    )  # those that go, unless a later one of the same attempt stays
    current: EventWriter | None = None
    points, doubtful_points, last_step, doubtful_step, others_step, latest = (
        0,
        0,
        -1,
        -1,
        -1,
        -math.inf,
    )
    with open_regular(path) as file:
        for start, end, event in events_in(file):
            if not event.HasField("summary"):
                _add(stays, start, end)
                continue
            writer = owner(candidates, event.wall_time)
            if writer is not None and settled:
                return FoundEvents(owned=True)
            if writer is not None and writer is not current:
                current, points, doubtful, doubtful_points, doubtful_step = (
                    writer,
                    points + doubtful_points,
                    [],
                    0,
                    -1,
                )
            latest = max(latest, event.wall_time)
            if (
                writer is not None
                and event.wall_time > latest - _JITTER_SECS
                and writer.is_gone(event.wall_time)
            ):
                points += 1
                continue
            if writer is not None and event.wall_time > writer.until:
                _add(doubtful, start, end)
                doubtful_points, doubtful_step = doubtful_points + 1, max(doubtful_step, event.step)
                continue
            if (
                current is not None and event.wall_time <= current.until
            ):  # also one of before it began: its clock was set back
                stays += doubtful
                last_step, doubtful, doubtful_points, doubtful_step = (
                    max(last_step, doubtful_step),
                    [],
                    0,
                    -1,
                )
            _add(stays, start, end)
            if writer is not None:
                last_step = max(last_step, event.step)
            else:
                others_step = max(others_step, event.step)
    joined = list[tuple[int, int]]()
    for part in sorted(stays):
        _add(joined, *part)
    return FoundEvents(
        tuple(joined), points + doubtful_points, last_step, current is not None, others_step
    )


def _add(parts: list[tuple[int, int]], start: int, end: int) -> None:
    """One more part; with its neighbour it is one, so that a large file is few."""
    if parts and parts[-1][1] == start:
        parts[-1] = parts[-1][0], end
    else:
        parts.append((start, end))


def events_in(file: BinaryIO) -> Iterator[tuple[int, int, Any]]:
    """The events of a file with the bytes that they take, up to the first that is torn, as after a
    kill in the middle of a write.
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
        file.seek(4, 1)  # that of the data is not compared: in Python that takes a second per MB
        try:
            event = Event.FromString(data)
        except DecodeError:
            return
        yield start, end, event
        start = end


def record(event: Any) -> bytes:
    """An event as the bytes of a record."""
    import io

    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue()


def beginning(now: float) -> bytes:
    """What every event file begins with."""
    from tensorboard.compat.proto.event_pb2 import Event

    return record(Event(wall_time=now, file_version="brain.Event:2"))


def restart(step: int, now: float) -> bytes:
    """An event file that marks a restart: a reader that holds points of before in memory drops
    those from `step` on.

    TensorBoard takes the first mark of a directory for its beginning, and acts on the others; so
    there are two.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    start = record(Event(wall_time=now, step=step, session_log=SessionLog(status=SessionLog.START)))
    return beginning(now) + start + start


def restart_step(path: Path) -> int:
    """The step of a mark, or 0 where it has none.

    Raises:
        OSError: where it cannot be read.
    """
    with open_regular(path) as file:
        return max((int(event.step) for _, _, event in events_in(file)), default=0)


def scalars(step: int, now: float, values: Mapping[str, float]) -> bytes:
    """One point of several scalars, as a record."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    return _summary(step, now, [scalar_pb(name, value) for name, value in values.items()])


def text(step: int, now: float, name: str, markdown: str) -> bytes:
    """A text, as a record."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return _summary(step, now, [text_pb(name, markdown)])


def _summary(step: int, now: float, parts: Iterable[Any]) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return record(
        Event(
            wall_time=now,
            step=step,
            summary=Summary(value=[value for part in parts for value in part.value]),
        )
    )
