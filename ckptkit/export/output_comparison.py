"""Compares an exported signature's outputs with those of the live model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Tolerances:
    """The allowed difference between values that are not equal bit for bit.

    Args:
        rtol: the difference relative to a value.
        atol: the difference in units of the largest finite value of an output.
    """

    rtol: float
    atol: float

    @classmethod
    def of(cls, rtol: float | None, atol: float | None, *, half: bool) -> Tolerances:
        """Return the given tolerances, or defaults that depend on `half` (computes in 16 bits)."""
        relative = rtol if rtol is not None else (2e-2 if half else 1e-3)
        return cls(relative, atol if atol is not None else relative / 100)


@dataclass(frozen=True)
class Comparison:
    """The result of comparing the outputs of one signature.

    Args:
        equal: whether all bits are equal.
        largest_difference: the largest difference between two finite values.
        problem: the first difference outside the tolerances, or empty.
    """

    equal: bool
    largest_difference: float
    problem: str = ""


def compare(live: Arrays, exported: Arrays, tolerances: Tolerances) -> Comparison:
    """Compare the outputs of one signature, by name.

    A value that is not finite must be the same on both sides: NaN for NaN, and an infinity of the
    same sign.
    """
    if live.keys() != exported.keys():
        return Comparison(
            False, 0.0, f"its outputs are {_names(exported)}; the live model's are {_names(live)}"
        )
    equal, largest = True, 0.0
    for name in sorted(live):
        found = _compare(live[name], exported[name], tolerances)
        if found.problem:
            return Comparison(
                False, max(largest, found.largest_difference), f"output {name!r} {found.problem}"
            )
        equal, largest = equal and found.equal, max(largest, found.largest_difference)
    return Comparison(equal, largest)


def _compare(live: np.ndarray, exported: np.ndarray, tolerances: Tolerances) -> Comparison:
    if live.dtype != exported.dtype or live.shape != exported.shape:
        return Comparison(
            False,
            0.0,
            f"is {exported.dtype}{list(exported.shape)}; the live model's is "
            f"{live.dtype}{list(live.shape)}",
        )
    if live.dtype == object or live.dtype.kind in "SUOb":
        different = int(np.sum(live != exported))
        return Comparison(
            not different,
            0.0,
            f"differs from the live model's in {different:,} of {live.size:,} values"
            if different
            else "",
        )
    if live.tobytes() == exported.tobytes():
        return Comparison(True, 0.0)
    return _compare_numbers(live, exported, tolerances)


def _compare_numbers(live: np.ndarray, exported: np.ndarray, tolerances: Tolerances) -> Comparison:
    wide = np.complex128 if live.dtype.kind == "c" else np.float64
    expected, received = live.astype(wide), exported.astype(wide)
    finite = np.isfinite(expected) & np.isfinite(received)
    same = (np.isnan(expected) & np.isnan(received)) | (expected == received)
    strange = ~finite & ~same
    if strange.any():
        index = tuple(int(i) for i in np.argwhere(strange)[0])
        return Comparison(
            False,
            0.0,
            f"is {received[index]} at {list(index)}, but the live model gives {expected[index]} "
            f"({int(strange.sum()):,} of {live.size:,} values)",
        )
    scale = float(np.max(np.abs(expected[finite]), initial=0.0))
    difference = np.where(
        finite, np.abs(np.where(finite, expected, 0) - np.where(finite, received, 0)), 0.0
    )
    largest = float(np.max(difference, initial=0.0))
    allowed = tolerances.atol * scale + tolerances.rtol * np.where(finite, np.abs(expected), 0.0)
    if live.dtype.kind in "iu":
        allowed = np.zeros_like(allowed)  # integers are classes or counts: no tolerance
    if (difference > allowed).any():
        index = tuple(
            int(i) for i in np.unravel_index(int(np.argmax(difference - allowed)), difference.shape)
        )
        return Comparison(
            False,
            largest,
            f"is {received[index]:.9g} at {list(index)}, but the live model gives "
            f"{expected[index]:.9g} "
            f"(allowed: {tolerances.rtol:g} of it and {tolerances.atol:g} of the largest)",
        )
    return Comparison(bool(same.all()), largest)


def _names(outputs: Arrays) -> str:
    return ", ".join(sorted(outputs)) or "none"
