"""Clocks, which are passed in as arguments, so that a test can pass its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The interface of a clock: current time, time for measuring, and waiting."""

    def now(self) -> float:
        """Return the seconds since the epoch, for records that people read."""
        ...

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary moment, for measuring; they never decrease."""
        ...

    def sleep(self, secs: float) -> None:
        """Wait for that many seconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, secs: float) -> None:
        time.sleep(secs)
