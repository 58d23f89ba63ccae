"""Saves plain attributes of objects that make batches, such as the settings of a `PyDataset`."""

from __future__ import annotations

import copy
import dis
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from ckptkit.errors import ConfigError
from ckptkit.tracking import python_state

_LARGEST_BYTES = 1 << 16
"""The largest size of an attribute that counts as a setting; larger ones contain data."""

_DRAWING = ("__getitem__", "__len__", "__iter__", "__next__", "on_epoch_begin", "on_epoch_end")
"""The methods that are called while data is read."""

_MUTABLE = (list, dict, set, bytearray, np.ndarray)
"""The types of values that a method may change in place, as `random.shuffle` does."""


class DataAttributes:
    """The plain attributes of an object that makes batches.

    Args:
        source: the object.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._assigned, self._read = _names_in_drawing(type(source))

    def get(self) -> dict[str, Any]:
        """Return the attributes with small plain values."""
        own = getattr(self._source, "__dict__", {})
        # Copies, because the object may later change a list in place.
        return {
            name: copy.deepcopy(value) for name, value in own.items() if _is_setting(name, value)
        }

    def set(self, values: Mapping[str, Any], *, drawn: bool = True) -> None:
        """Set attributes that `get` returned.

        Args:
            values: by name.
            drawn: whether to also set attributes that reading data changes.
        """
        for name, value in values.items():
            if drawn or not self._is_drawn(name, value):
                # A copy, because the object may change it in place, and the values may be saved.
                setattr(self._source, name, copy.deepcopy(value))

    def _is_drawn(self, name: str, value: Any) -> bool:
        """Return whether reading data may change an attribute, also in place."""
        return name in self._assigned or (name in self._read and isinstance(value, _MUTABLE))


def _is_setting(name: str, value: Any) -> bool:
    """Return whether an attribute has a small plain value."""
    try:
        if _bytes_left(value, _LARGEST_BYTES) < 0:
            return False
        python_state.encode(value, name)
    except (ConfigError, RecursionError):
        return False
    return True


def _bytes_left(value: Any, left: int) -> int:
    """Subtract the rough size of a value from a number of bytes; negative if it is too large.

    It stops as soon as the value is too large, because an attribute may contain all images.
    """
    left -= value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value, 64)
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()] if left >= 0 else ()
    if isinstance(value, list | tuple | set | frozenset):
        for each in value:
            if left < 0:
                break
            left = _bytes_left(each, left)
    return left


def _names_in_drawing(cls: type) -> tuple[set[str], set[str]]:
    """Return the attributes that are assigned while data is read, and the names that are read.

    Both include the methods that are called.
    """
    pending, seen, assigned = list(_DRAWING), set(), set()
    read: set[str] = set()
    while pending:
        name = pending.pop()
        method = getattr(cls, name, None)
        if name in seen or not isinstance(method, types.FunctionType):
            continue
        seen.add(name)
        assigned |= {
            str(each.argval) for each in dis.get_instructions(method) if each.opname == "STORE_ATTR"
        }
        read |= set(method.__code__.co_names)
        pending += method.__code__.co_names
    return assigned, read
