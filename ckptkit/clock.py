"""Time as an argument, so that a test can pass its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two kinds of time that are needed, and waiting."""

    def now(self) -> float:
        """Seconds since the epoch, for records that people read."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back, for measuring."""
        ...

    def sleep(self, secs: float) -> None:
        """Returns when so many seconds are over."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, secs: float) -> None:
        time.sleep(secs)
