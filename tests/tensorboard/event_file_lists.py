"""Event files as TensorFlow writes them, and what they contain."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from ckptkit.tensorboard.event_files import (
    EVENT_FILE_PREFIX,
    encode_record,
    read_events,
    version_record,
)

Point = tuple[float, int]
"""When it was written, and its step."""


def name_of(time: int, host: str, pid: int, number: int = 0) -> str:
    return f"{EVENT_FILE_PREFIX}{time:010d}.{host}.{pid}.{number}.v2"


def point(time: float, step: int, tag: str = "loss") -> bytes:
    return encode_record(
        Event(
            wall_time=time,
            step=step,
            summary=Summary(value=[Summary.Value(tag=tag, simple_value=step)]),
        )
    )


def write(path: Path, points: Iterable[Point], torn: bytes = b"") -> Path:
    """An event file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        version_record(1.0) + b"".join(point(time, step) for time, step in points) + torn
    )
    return path


def points_in(path: Path) -> list[Point]:
    with path.open("rb") as file:
        return [
            (event.wall_time, event.step)
            for _, _, event in read_events(file)
            if event.HasField("summary")
        ]


def steps_shown(directory: Path) -> list[int]:
    """The steps of all points of a directory in the order in which TensorBoard reads."""
    return [
        step
        for path in sorted(directory.iterdir())
        if "tfevents" in path.name
        for _, step in points_in(path)
    ]


def starts(directory: Path) -> list[int]:
    """The steps of the marks of restarts, in the order in which TensorBoard reads."""
    found = []
    for path in sorted(directory.iterdir()):
        if "tfevents" in path.name:
            with path.open("rb") as file:
                found += [
                    event.step for _, _, event in read_events(file) if event.HasField("session_log")
                ]
    return found
