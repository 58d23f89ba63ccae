"""Clocks: time is passed in as an argument, so that a test can pass its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The current time, time for measuring, and waiting."""

    def now(self) -> float:
        """Seconds since the epoch, for records that people read."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, for measuring; never goes back."""
        ...

    def sleep(self, secs: float) -> None:
        """Waits for that many seconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, secs: float) -> None:
        time.sleep(secs)
