"""Estimates how long a save takes to write, from the saves before it. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class WriteTime:
    """How long one save took to write.

    Args:
        secs: the duration in seconds.
        new_bytes: the bytes that it wrote; those that it shared with an earlier save do not count.
    """

    secs: float
    new_bytes: int

    def scaled(self, new_bytes: int, secs_per_byte: float) -> float:
        """Return the duration for another number of bytes, at least the measured one."""
        return self.secs + max(new_bytes - self.new_bytes, 0) * secs_per_byte


class WriteTimes:
    """The durations of the last saves, and of the one that wrote most.

    Saves that share their unchanged data are fast. The first save after a layer is unfrozen is not,
    so an estimate follows the bytes that have to be written.
    """

    def __init__(self) -> None:
        self._last: deque[WriteTime] = deque(maxlen=3)
        self._most: WriteTime | None = None

    def add(self, secs: float, new_bytes: int) -> None:
        """Note a save; see `WriteTime`."""
        done = WriteTime(secs, new_bytes)
        self._last.append(done)
        if self._most is None or new_bytes >= self._most.new_bytes:
            self._most = done

    def __bool__(self) -> bool:
        return bool(self._last)

    def secs_for(self, new_bytes: int) -> float | None:
        """Return the fewest seconds that a save of so many bytes takes; None before the first."""
        if self._most is None:
            return None
        secs_per_byte = self._most.secs / max(self._most.new_bytes, 1)
        # A copy, because the writer's thread may add a save meanwhile.
        return min(each.scaled(new_bytes, secs_per_byte) for each in tuple(self._last))

    @property
    def whole_secs(self) -> float | None:
        """The seconds for a save that shares nothing; None before the first save."""
        return None if self._most is None else self.secs_for(self._most.new_bytes)
