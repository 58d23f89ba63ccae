"""Plain attributes of an object that makes batches, as a `PyDataset` with a level of difficulty."""

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
"""The largest attribute that counts as a setting. What is larger holds data."""

_DRAWING = ("__getitem__", "__len__", "__iter__", "__next__", "on_epoch_begin", "on_epoch_end")
"""Methods that are called while data is drawn."""


class DataAttributes:
    """The plain attributes of an object that makes batches.

    Args:
        source: the object.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._drawn = _names_set_by_drawing(type(source))

    def get(self) -> dict[str, Any]:
        """Return the attributes that hold small plain values."""
        own = getattr(self._source, "__dict__", {})
        # Copies, because the object may change a list in place while the state is being kept.
        return {
            name: copy.deepcopy(value) for name, value in own.items() if _is_setting(name, value)
        }

    def set(self, values: Mapping[str, Any], *, drawn: bool = True) -> None:
        """Set attributes that `get` returned.

        Args:
            values: by name.
            drawn: whether those that drawing changes are set too.
        """
        for name, value in values.items():
            if drawn or name not in self._drawn:
                setattr(self._source, name, value)


def _is_setting(name: str, value: Any) -> bool:
    """Whether an attribute holds a plain value that is small."""
    try:
        if _bytes_left(value, _LARGEST_BYTES) < 0:
            return False
        python_state.encode(value, name)
    except (ConfigError, RecursionError):
        return False
    return True


def _bytes_left(value: Any, left: int) -> int:
    """Return what is left of a number of bytes after a value, roughly; negative if too little.

    It stops as soon as that is known: an attribute may hold all images of the data.
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


def _names_set_by_drawing(cls: type) -> set[str]:
    """Return the attributes that the methods which draw assign, and those that these call."""
    pending, seen, found = list(_DRAWING), set(), set()
    while pending:
        name = pending.pop()
        method = getattr(cls, name, None)
        if name in seen or not isinstance(method, types.FunctionType):
            continue
        seen.add(name)
        found |= {
            str(each.argval) for each in dis.get_instructions(method) if each.opname == "STORE_ATTR"
        }
        pending += method.__code__.co_names
    return found
