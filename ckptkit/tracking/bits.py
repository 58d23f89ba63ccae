"""Compares values by their bits."""

from __future__ import annotations

from typing import Any

import numpy as np

_CHUNK = 1 << 20


def same_bits(a: Any, b: Any) -> bool:
    """Return whether two tensors have the same bytes: NaN equals NaN, but 0.0 differs from -0.0.

    Args:
        a, b: tensors or arrays.
    """
    one, other = np.asarray(a), np.asarray(b)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype == object:
        return bool(np.array_equal(one, other))
    # Two reads of a variable share its memory until it changes.
    if one.ctypes.data == other.ctypes.data:
        return True
    left, right = (np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in (one, other))
    # In parts: NumPy lets other threads run during each, and the result needs little memory.
    return all(
        np.array_equal(left[start : start + _CHUNK], right[start : start + _CHUNK])
        for start in range(0, left.size, _CHUNK)
    )
