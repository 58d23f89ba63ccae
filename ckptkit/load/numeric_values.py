"""Values of every type as numbers that NumPy can compare and add up, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_PIECE = 1 << 18
"""Elements in a piece: what is computed with them takes a few megabytes, however large the tensor.
"""

_SMALL_INTEGERS = frozenset({"int2", "uint2", "int4", "uint4"})


def kind_of(dtype: Any) -> str:
    """How values of a type are to be taken: `float`, `integer`, `complex`, or empty where they are
    no numbers.

    Args:
        dtype: NumPy's; also one of those that TensorFlow adds (bfloat16, float8, int4).
    """
    if dtype.kind in "biu" or dtype.name in _SMALL_INTEGERS:
        return "integer"
    if dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float")):
        return "float"
    return "complex" if dtype.kind == "c" else ""


def numbers(piece: Any) -> Any:
    """A piece as float64, as complex128, or as whole numbers of their own width; bool is 0 and 1.

    Every number of a smaller type is one of these.
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
    with np.errstate(invalid="ignore"):  # a NaN may be one that the processor signals
        return piece.astype(np.float64 if kind == "float" else np.complex128)


def pieces(*arrays: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Arrays of one size, cut alike.

    Yields:
        The number of the first element, and that piece of each array, flat.
    """
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    for begin in range(0, flat[0].size, _PIECE):
        yield begin, tuple(each[begin : begin + _PIECE] for each in flat)
