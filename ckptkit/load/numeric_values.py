"""Converts values of every type to numbers that NumPy can compare, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_PIECE = 1 << 18
"""The number of elements in a piece, so that a comparison needs only a few megabytes.
"""

_SMALL_INTEGERS = frozenset({"int2", "uint2", "int4", "uint4"})


def kind_of(dtype: Any) -> str:
    """Return how to treat values of a type: `float`, `integer`, `complex`, or empty if not numbers.

    Args:
        dtype: a NumPy type, or one that TensorFlow adds (bfloat16, float8, int4).
    """
    if dtype.kind in "biu" or dtype.name in _SMALL_INTEGERS:
        return "integer"
    if dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float")):
        return "float"
    return "complex" if dtype.kind == "c" else ""


def numbers(piece: Any) -> Any:
    """Convert a piece to float64, complex128 or integers; bool becomes 0 and 1.

    The conversion is exact: each smaller type fits into one of these.
    """
    kind = kind_of(piece.dtype)
    if kind == "integer":
        return (
            piece.astype(np.int8)
            if piece.dtype.name in _SMALL_INTEGERS
            else piece.astype(np.uint8)
            if piece.dtype.kind == "b"
            else piece
        )
    with np.errstate(invalid="ignore"):  # converting a signalling NaN sets the "invalid" flag
        return piece.astype(np.float64 if kind == "float" else np.complex128)


def pieces(*arrays: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield arrays of the same size in matching pieces.

    Yields:
        The index of the first element, and that piece of each array, flattened.
    """
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    for begin in range(0, flat[0].size, _PIECE):
        yield begin, tuple(each[begin : begin + _PIECE] for each in flat)
