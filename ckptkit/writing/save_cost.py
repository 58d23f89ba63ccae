"""What a save costs training: how long it stood still, and how much slower it was while the save
was written.
"""

from __future__ import annotations

import statistics
from collections import deque


class CostMeter:
    """Compares steps during a write with steps without one. Knows no clock.

    A step counts as at most three times as long as a usual one, so that an evaluation between two
    steps is not taken for the cost of a save.
    """

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=50)
        self._saves: deque[float] = deque(maxlen=3)
        self._last: float | None = None
        self._open: float | None = None

    def saved(self, stall_secs: float) -> None:
        """A snapshot was taken, for which training stood still so long."""
        self._open = (self._open or 0.0) + stall_secs
        self._last = None

    def turn(self, now_secs: float, busy: bool) -> None:
        """A step is done.

        Args:
            now_secs: the monotonic clock.
            busy: whether a save is being written.
        """
        secs, self._last = (None if self._last is None else now_secs - self._last), now_secs
        if secs is not None and self._open is None:
            self._usual.append(secs)
        elif secs is not None and self._open is not None and self._usual:
            usual = statistics.median(self._usual)
            self._open += min(max(secs - usual, 0.0), 2 * usual)
        if self._open is not None and not busy:
            self._saves.append(self._open)
            self._open = None

    @property
    def secs(self) -> float | None:
        """Training time that a save costs, in seconds: the mean of the last three; None before the
        first.
        """
        return statistics.fmean(self._saves) if self._saves else None
