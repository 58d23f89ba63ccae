"""Computes minimum, maximum and mean of a tensor, and counts its NaN and infinity. Pure."""

from __future__ import annotations

import cmath
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptkit.load.numeric_values import kind_of, numbers, pieces
from ckptkit.load.tensor_list import NO_VALUES

NO_NUMBERS = "no numbers"
NO_ORDER = "complex numbers have no order"
EMPTY = "empty"
NOT_FINITE = "no finite value"

_DOWN = 2.0**-64
"""A factor that keeps the sum of up to 2**64 of the largest numbers finite."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of a tensor's values; a field without meaning for the type is None.

    Args:
        elements: number of values; None if the tensor cannot be read.
        nan, inf: number of NaN and infinite values; 0 for integers and bool.
        min, max: the smallest and the largest finite value; exact for integers, 0 and 1 for bool.
        mean: the mean of the finite values, in float64; complex for complex numbers.
        note: why a field is None, or empty.
    """

    elements: int | None
    nan: int | None = None
    inf: int | None = None
    min: int | float | None = None
    max: int | float | None = None
    mean: float | complex | None = None
    note: str = ""


def unreadable() -> Statistics:
    """Return the statistics of a tensor whose type has no readable values, such as an iterator."""
    return Statistics(None, note=NO_VALUES)


def statistics(values: Any) -> Statistics:
    """Compute the statistics of a tensor with little additional memory.

    Args:
        values: an array of any type, including those that TensorFlow adds to NumPy.

    Example:
        >>> import numpy as np
        >>> from ckptkit.load.tensor_statistics import statistics
        >>> found = statistics(np.array([1.0, np.nan, -3.0, np.inf]))
        >>> found.min, found.max, found.mean, found.nan, found.inf
        (-3.0, 1.0, -1.0, 1, 1)
    """
    array = np.asarray(values)
    kind = kind_of(array.dtype)
    if not kind:
        return Statistics(array.size, note=NO_NUMBERS)
    nan = inf = finite = 0
    lows: list[int | float] = []
    highs: list[int | float] = []
    total: Any = 0.0
    for _, (piece,) in pieces(array):
        found = numbers(piece)
        is_finite = np.isfinite(found)
        if not is_finite.all():
            nan, inf = nan + int(np.isnan(found).sum()), inf + int(np.isinf(found).sum())
            found = found[is_finite]
        if found.size and kind != "complex":
            lows.append(found.min().item())
            highs.append(found.max().item())
        finite += found.size
        total += _sum(found)
    mean = total / finite if finite else None
    if mean is not None and not cmath.isfinite(mean):
        mean = (
            sum(
                _sum(each[np.isfinite(each)] * _DOWN)
                for each in (numbers(piece) for _, (piece,) in pieces(array))
            )
            / finite
            / _DOWN
        )
    note = (
        EMPTY
        if not array.size
        else NOT_FINITE
        if not finite
        else NO_ORDER
        if kind == "complex"
        else ""
    )
    return Statistics(
        array.size, nan, inf, min(lows, default=None), max(highs, default=None), mean, note
    )


def _sum(found: Any) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        return found.sum(dtype=np.complex128 if found.dtype.kind == "c" else np.float64).item()
