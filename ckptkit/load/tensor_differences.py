"""Compares two tensors, value by value and bit by bit. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptkit.load.numeric_values import kind_of, numbers, pieces

OTHER_TYPES = "the types differ: compared as numbers"


@dataclass(frozen=True)
class ValueDifference:
    """The differences between two tensors of the same shape.

    Args:
        elements: number of values in each tensor.
        differing: number of values whose bits differ. Two NaN with the same bits are equal, and 0.0
            and -0.0 are not. For different types, the number of values that differ as numbers.
        largest_absolute: the largest `|a - b|`; NaN if one value is NaN and the other is not,
            infinite if only one is infinite. None if the values are not numbers or none differs.
        largest_relative: the largest `|a - b| / max(|a|, |b|)`, with the same rules; 2 if only the
            sign differs.
        at: index of the largest absolute difference, or of the first difference if the values are
            not numbers.
        a, b: the values at that index.
        note: a remark on the comparison, or empty.
    """

    elements: int
    differing: int
    largest_absolute: int | float | None = None
    largest_relative: float | None = None
    at: tuple[int, ...] | None = None
    a: object = None
    b: object = None
    note: str = ""

    @property
    def equal(self) -> bool:
        """Whether all values are the same."""
        return not self.differing


def difference(a: Any, b: Any) -> ValueDifference:
    """Compare two tensors of the same shape, with little additional memory.

    Args:
        a, b: arrays of any type, including those that TensorFlow adds to NumPy.

    Example:
        >>> import numpy as np
        >>> from ckptkit.load.tensor_differences import difference
        >>> found = difference(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.5, np.nan]))
        >>> found.differing, found.largest_absolute, found.largest_relative, found.at
        (1, 0.5, 0.2, (1,))
    """
    a, b = np.asarray(a), np.asarray(b)
    same_type = a.dtype == b.dtype
    with_numbers = bool(kind_of(a.dtype) and kind_of(b.dtype))
    differing, first = 0, None
    largest: tuple[tuple[bool, int | float], int] | None = None
    relative: tuple[bool, float] = (False, 0.0)
    for begin, (x, y) in pieces(a, b):
        other = _bits_differ(x, y) if same_type else _numbers_differ(x, y)
        where = np.flatnonzero(other)
        if not where.size:
            continue
        differing += where.size
        first = begin + int(where[0]) if first is None else first
        if with_numbers:
            absolute, ratio = _distances(numbers(x[where]), numbers(y[where]))
            number = int(np.argmax(absolute))  # NaN counts as the largest
            found = _rank(absolute[number].item())
            if largest is None or found > largest[0]:
                largest = found, begin + int(where[number])
            relative = max(relative, _rank(np.max(ratio).item()))
    note = "" if same_type else OTHER_TYPES
    if first is None:
        return ValueDifference(a.size, 0, note=note)
    index = first if largest is None else largest[1]
    at = tuple(int(each) for each in np.unravel_index(index, a.shape))
    return ValueDifference(
        a.size,
        differing,
        None if largest is None else _value(largest[0]),
        None if largest is None else float(_value(relative)),
        at,
        _item(a, at),
        _item(b, at),
        note,
    )


def _rank(value: int | float) -> tuple[bool, int | float]:
    """Return a sort key for a value that makes NaN the largest."""
    return (True, 0.0) if value != value else (False, value)


def _value(rank: tuple[bool, int | float]) -> int | float:
    return float("nan") if rank[0] else rank[1]


def _bits_differ(x: Any, y: Any) -> Any:
    if x.dtype.hasobject:
        return x != y
    unit = math.gcd(x.dtype.itemsize, 8)  # the widest integer type that a value is made of
    p, q = (
        np.ascontiguousarray(each).view(f"u{unit}").reshape(each.size, x.dtype.itemsize // unit)
        for each in (x, y)
    )
    return (p != q)[:, 0] if p.shape[1] == 1 else (p != q).any(axis=1)


def _numbers_differ(x: Any, y: Any) -> Any:
    if not (kind_of(x.dtype) and kind_of(y.dtype)):
        return np.ones(x.shape, bool)
    p, q = numbers(x), numbers(y)
    return (p != q) & ~(np.isnan(p) & np.isnan(q))


def _distances(p: Any, q: Any) -> tuple[Any, Any]:
    """Return absolute and relative differences; absolute differences of integers are exact."""
    with np.errstate(all="ignore"):
        if p.dtype == q.dtype and p.dtype.kind in "iu":
            high, low = np.maximum(p, q), np.minimum(p, q)
            # Exact even across the sign: unsigned 64-bit subtraction wraps around.
            absolute = high.astype(np.uint64) - low.astype(np.uint64)
            size = np.maximum(np.abs(p.astype(np.float64)), np.abs(q.astype(np.float64)))
            return absolute, np.where(absolute == 0, 0.0, absolute / size)
        wide = np.complex128 if "c" in (p.dtype.kind, q.dtype.kind) else np.float64
        p, q = p.astype(wide), q.astype(wide)
        one_infinite = np.isinf(p) != np.isinf(q)
        absolute = np.where(
            (p == q) | (np.isnan(p) & np.isnan(q)),
            0.0,
            np.where(one_infinite & ~np.isnan(p) & ~np.isnan(q), np.inf, np.abs(p - q)),
        )
        size = np.maximum(np.abs(p), np.abs(q))
        ratio = np.where(
            np.isfinite(absolute),
            absolute / size,
            np.where(np.isinf(size), absolute, np.abs(p / size - q / size)),
        )
        return absolute, np.where(absolute == 0, 0.0, ratio)


def _item(array: Any, at: tuple[int, ...]) -> object:
    """Return one value as a Python object."""
    found = array[at]
    if kind_of(array.dtype):
        return (
            numbers(np.asarray(found).reshape(1))[0].item()
            if array.dtype.kind != "b"
            else bool(found)
        )
    return found
