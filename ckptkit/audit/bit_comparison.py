"""Compares two saved states bit by bit. Pure."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class BitDifference:
    """One difference between two checkpoints.

    Args:
        name: the key of a tensor or of Python state with the place in it; or `position`, or
            `metrics/<name>`.
        path: the name under which Keras or TensorFlow knows it; empty if there is none.
        kind: `variable`, `trackable`, `python`, `position`, `metric` or `missing`.
        words: the difference in words.
        differing: the number of values that differ.
        values: the number of all values.
    """

    name: str
    path: str
    kind: str
    words: str
    differing: int = 1
    values: int = 1

    @property
    def place(self) -> str:
        """The name without its numbers, so that it is the same at a later step."""
        return re.sub(r"\[\d+\]|(?<=/arrays/)\d+", "[]", self.name)


@dataclass(kw_only=True)
class BitComparison:
    """The result of comparing two states: what was compared, and the differences.

    Args:
        variables: the number of compared variables and tables.
        values: the number of values in them.
        python: the number of compared pieces of Python state.
        not_compared: what was left out, and why.
        differences: the differences, in the order of the checkpoint.
    """

    variables: int = 0
    values: int = 0
    python: int = 0
    not_compared: list[str] = field(default_factory=list)
    differences: list[BitDifference] = field(default_factory=list)


def different_arrays(name: str, path: str, kind: str, one: Any, other: Any) -> BitDifference | None:
    """Compare two arrays by their bits, so equal NaN match and 0.0 and -0.0 differ."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return BitDifference(
            name=name,
            path=path,
            kind=kind,
            words=f"{_form(one)} and {_form(other)}",
            differing=other.size,
            values=one.size,
        )
    unequal = _unequal(one, other)
    count = int(unequal.sum())
    if not count:
        return None
    first = int(np.argmax(unequal))
    left, right = one.reshape(-1)[first], other.reshape(-1)[first]
    words = f"{count:,} of {_values(one.size)} {'differs' if count == 1 else 'differ'}"
    if one.dtype.kind == "O":
        return BitDifference(
            name=name, path=path, kind=kind, words=words, differing=count, values=one.size
        )
    place = (
        f"[{', '.join(str(index) for index in np.unravel_index(first, one.shape))}]"
        if one.shape
        else "the value"
    )
    return BitDifference(
        name=name,
        path=path,
        kind=kind,
        words=f"{words}; {place} is {left!s} and {right!s}",
        differing=count,
        values=one.size,
    )


def _values(number: int) -> str:
    return f"{number:,} {'value' if number == 1 else 'values'}"


def _form(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _unequal(one: Any, other: Any) -> Any:
    """Return a flat mask of the elements that differ between two arrays of the same shape."""
    if one.dtype.kind == "O":  # strings
        return np.array(
            [left != right for left, right in zip(one.reshape(-1), other.reshape(-1), strict=True)],
            dtype=bool,
        )
    if not one.size:
        return np.zeros(0, dtype=bool)
    left, right = (
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)
        for array in (one, other)
    )
    return (left != right).any(axis=1)


def different_python(name: str, path: str, one: bytes, other: bytes) -> list[BitDifference]:
    """Compare two JSON values of Python state, and return a difference for each differing place."""
    if one == other:
        return []
    try:
        left, right = json.loads(one), json.loads(other)
    except (ValueError, RecursionError):
        return [BitDifference(name=name, path=path, kind="python", words="other bytes")]
    return [
        BitDifference(
            name=f"{name}{where}",
            path=path,
            kind="python",
            words=words,
            differing=differing,
            values=values,
        )
        for where, words, differing, values in _places(left, right, "")
    ] or [BitDifference(name=name, path=path, kind="python", words="in another order")]


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


def _places(one: Any, other: Any, where: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield each place at which two JSON values differ, in words, with the number of values.

    Here 1, True and 1.0 differ from each other, and NaN equals NaN. A list of plain values is one
    place, because a random state has hundreds of them.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _places(one.get(key, _NOTHING), other.get(key, _NOTHING), f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        pairs = list(itertools.zip_longest(one, other, fillvalue=_NOTHING))
        unequal = [index for index, pair in enumerate(pairs) if _text(pair[0]) != _text(pair[1])]
        if len(unequal) > 1 and all(_is_plain(each) for pair in pairs for each in pair):
            left, right = pairs[unequal[0]]
            words = (
                f"{len(unequal):,} of {_values(len(pairs))} differ; [{unequal[0]}] is "
                f"{_shown(left)} and {_shown(right)}"
            )
            yield where, words, len(unequal), len(pairs)
        else:
            for index in unequal:
                yield from _places(*pairs[index], f"{where}[{index}]")
    elif _text(one) != _text(other):
        yield where, f"{_shown(one)} and {_shown(other)}", 1, 1


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _text(value: Any) -> str:
    return repr(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
