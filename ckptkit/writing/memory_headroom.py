"""Reads how much memory is available, and returns freed memory to the kernel."""

from __future__ import annotations

import ctypes
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
