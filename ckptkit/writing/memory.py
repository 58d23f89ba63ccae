"""How much memory there is for a copy of the state, and giving it back."""

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
"""The limit of a container and what it uses: control groups of version 2 and of version 1 (the
kernel's `cgroup-v2.rst` and `memory.rst`).
"""


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory that can be taken without swapping: of the machine, or of the container where that has
    less.

    Args:
        cgroup: where the control groups are mounted.
    """
    free = int(psutil.virtual_memory().available)
    for limit, used in _LIMITS:
        try:
            free = min(free, int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
        except (OSError, ValueError):  # there is no such file, or it says "max"
            continue
    return max(free, 0)


def give_back() -> None:
    """Gives the kernel what the C library keeps of freed memory, where it can be told to (glibc's
    `malloc_trim(3)`).

    With oneDNN, TensorFlow's allocator keeps a pool of its own, for which there is no such call:
    what a snapshot took stays there, for the next one and for training.
    `TF_ONEDNN_USE_SYSTEM_ALLOCATOR=1` in the environment makes it do without (TensorFlow's
    `mkl_cpu_allocator.h`).
    """
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
