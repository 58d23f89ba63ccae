"""Measures the training time that a save costs."""

from __future__ import annotations

import statistics
from collections import deque


class CostMeter:
    """Measures the training time that a save costs, by comparing steps with and without a save.

    All times are passed in. A step counts at most three times as long as a usual one, so that an
    evaluation between two steps does not count as the cost of a save.
    """

    def __init__(self) -> None:
        self._usual_secs: deque[float] = deque(
            maxlen=50
        )  # only recent ones, because steps get faster or slower
        self._save_secs: deque[float] = deque(maxlen=3)
        self._measured = 0
        self._last_step_secs: float | None = None
        self._unfinished_secs: float | None = None  # for the save in progress, if any

    def snapshot_taken(self, stall_secs: float) -> None:
        """Record how long training stopped for a snapshot.

        Args:
            stall_secs: the duration of the stop, in seconds.
        """
        self._unfinished_secs = (self._unfinished_secs or 0.0) + stall_secs
        # The stop already counts. The rest of the step is timed, because the write may end in it.
        if self._last_step_secs is not None:
            self._last_step_secs += stall_secs

    def step_done(self, now_secs: float, busy: bool) -> None:
        """Record the end of a step.

        Args:
            now_secs: the monotonic clock, at the end of the step.
            busy: whether a save is being written.
        """
        secs, self._last_step_secs = (
            (None if self._last_step_secs is None else now_secs - self._last_step_secs),
            now_secs,
        )
        if secs is not None and self._unfinished_secs is None:
            self._usual_secs.append(secs)
        elif secs is not None and self._unfinished_secs is not None and self._usual_secs:
            usual = statistics.median(self._usual_secs)
            self._unfinished_secs += min(max(secs - usual, 0.0), 2 * usual)
        if self._unfinished_secs is not None and not busy:
            if self._measured == 1:
                # The first save also imports modules and builds TensorFlow's writer once.
                self._save_secs.clear()
            self._measured += 1
            self._save_secs.append(self._unfinished_secs)
            self._unfinished_secs = None

    @property
    def is_measuring(self) -> bool:
        """Whether a save has begun whose cost is not known yet."""
        return self._unfinished_secs is not None

    @property
    def secs(self) -> float | None:
        """Return the training time that a save costs, in seconds: the mean of the last three.

        The first save of a process counts only until there is a second one.

        Returns:
            None before the first save was finished.
        """
        return statistics.fmean(self._save_secs) if self._save_secs else None
