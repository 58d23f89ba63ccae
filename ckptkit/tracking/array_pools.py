"""Stores many small arrays of attributes as the rows of a few tensors.

A replay buffer may contain a hundred thousand small arrays, and a checkpoint describes each tensor.
An array that is used twice is stored as one row, so that it is one array again after a restore.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ckptkit.tracking.plain_values import array_type, type_name


class ArrayPools:
    """Collects arrays into pools of the same shape and type, for a checkpoint."""

    def __init__(self) -> None:
        self._pools: dict[Any, list[np.ndarray[Any, Any]]] = {}
        self._numbers: dict[Any, int] = {}
        self._places: dict[int, tuple[int, int]] = {}

    def place(self, array: np.ndarray[Any, Any]) -> tuple[int, int]:
        """Return the number of an array's pool, and its row there.

        Args:
            array: an array without objects. It is kept alive until the tensors are made.
        """
        known = self._places.get(id(array))
        if known is not None:
            return known
        form = (type_name(array.dtype), array.shape)
        rows = self._pools.setdefault(form, [])
        number = self._numbers.setdefault(form, len(self._numbers))
        rows.append(array)
        self._places[id(array)] = number, len(rows) - 1
        return number, len(rows) - 1

    def tensors(self) -> tuple[list[Any], list[tf.Tensor]]:
        """Return the description of each pool, and its tensor."""
        described: list[Any] = []
        tensors = []
        for (name, shape), rows in self._pools.items():
            described.append({"dtype": name, "shape": list(shape), "rows": len(rows)})
            tensors.append(_tensor(rows))
        return described, tensors


def _tensor(rows: list[np.ndarray[Any, Any]]) -> tf.Tensor:
    # One large array is copied once, here.
    stacked = rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)
    if not _is_tensorflows(stacked.dtype):
        stacked = np.frombuffer(np.ascontiguousarray(stacked).tobytes(), np.uint8)
    with tf.device("CPU:0"):
        return tf.constant(stacked)


def _is_tensorflows(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" and dtype.char not in "gG" and dtype.isnative


class PooledArrays:
    """The arrays in a checkpoint; each row becomes one array, even if it is read several times.

    Args:
        described: the descriptions of the pools.
        tensors: their tensors.
    """

    def __init__(self, described: Sequence[Any], tensors: Sequence[tf.Tensor]) -> None:
        self._pools = [_unpacked(*pair) for pair in zip(described, tensors, strict=True)]
        self._made: dict[tuple[int, int], np.ndarray[Any, Any]] = {}

    def row(self, pool: int, row: int) -> np.ndarray[Any, Any]:
        """Return an array; it may be changed."""
        if (pool, row) not in self._made:
            self._made[pool, row] = np.array(self._pools[pool][row])
        return self._made[pool, row]


def _unpacked(described: Any, tensor: tf.Tensor) -> np.ndarray[Any, Any]:
    dtype, shape = array_type(described["dtype"]), (described["rows"], *described["shape"])
    array: np.ndarray[Any, Any] = tensor.numpy()
    if not _is_tensorflows(dtype):
        array = np.frombuffer(array.tobytes(), dtype)
    return np.reshape(array, shape)
