"""Measures the cost of a save: training time, and memory for a copy of the state."""

from __future__ import annotations

import ctypes
import statistics
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""The files with a container's memory limit and use, for control groups v2 and v1.

See the kernel's `cgroup-v2.rst` and `memory.rst`.
"""


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
        self._last_step_secs: float | None = None
        self._unfinished_secs: float | None = None  # for the save in progress, if any

    def snapshot_taken(self, stall_secs: float) -> None:
        """Record how long training stopped for a snapshot.

        Args:
            stall_secs: the duration of the stop, in seconds.
        """
        self._unfinished_secs = (self._unfinished_secs or 0.0) + stall_secs
        # The step that contains the snapshot is not timed, because the stop already counts.
        self._last_step_secs = None

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
            self._save_secs.append(self._unfinished_secs)
            self._unfinished_secs = None

    @property
    def secs(self) -> float | None:
        """Return the training time that a save costs, in seconds: the mean of the last three.

        Returns:
            None before the first save was finished.
        """
        return statistics.fmean(self._save_secs) if self._save_secs else None


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """Return the memory that is available without swapping, in bytes.

    That is the machine's free memory, or the rest of the container's limit if that is less.

    Args:
        cgroup: the directory in which the control groups are mounted.
    """
    free = int(psutil.virtual_memory().available)
    for limit, used in _LIMITS:
        try:
            free = min(free, int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
        except (OSError, ValueError):  # no such file, or the limit is "max"
            continue
    return max(free, 0)  # a container may use more than its limit for a moment


def return_freed_memory() -> None:
    """Return freed memory from the C library to the kernel (`malloc_trim(3)`).

    With oneDNN, TensorFlow's allocator has its own pool, which no call empties. A snapshot's memory
    stays there for the next snapshot and for training. Without the pool:
    `TF_ONEDNN_USE_SYSTEM_ALLOCATOR=1` in the environment (TensorFlow's `mkl_cpu_allocator.h`).
    """
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Any:
    """Return glibc's `malloc_trim`, or None with another C library (musl, macOS)."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
