"""`ckptkit.data.shuffled`: shuffled data whose position consists of a few integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ckptkit.errors import ConfigError
from ckptkit.position import whole_number


def shuffled(
    source: Any, batch_size: int, seed: int = 0, *, drop_remainder: bool = False
) -> tf.data.Dataset:
    """Return endless epochs over `source`, each in a different order, that resume at once.

    The order of an epoch is computed from the seed and the epoch's number
    (`tf.random.experimental.index_shuffle`). So no buffer of rows has to be filled, saved or
    restored, and the position consists of a few integers for any size of data. It resumes exactly
    at any batch, in `fit` and in loops.

    Args:
        source: arrays or tensors whose first axis counts rows, or tuples, lists, dictionaries of
            them. Or an object with `len()` and `source[rows]` (such as an HDF5 data set), which
            gets an array of row numbers and returns arrays. From a memory-mapped file
            (`np.memmap`), only the rows of a batch are read.
        batch_size: the number of rows in a batch.
        seed: the seed of the orders; a different seed gives different orders.
        drop_remainder: whether to skip the last batch of an epoch if it is not full.

    Returns:
        An endless dataset; pass its attribute `batches_per_epoch` to `fit` as `steps_per_epoch`.

    Raises:
        ConfigError: If the rows cannot be counted, or a number is invalid.

    Example:
        >>> import ckptkit, numpy as np
        >>> data = ckptkit.data.shuffled((np.arange(10.0), np.arange(10)), batch_size=4, seed=1)
        >>> data.batches_per_epoch
        3
        >>> [x.shape[0] for x, y in data.take(4)]
        [4, 4, 2, 4]
    """
    size = whole_number(batch_size)
    if size is None or size < 1:
        raise ConfigError(
            f"batch_size is the number of rows in a batch, 1 or more. Received: "
            f"batch_size={batch_size!r}."
        )
    batch_size = size
    if isinstance(source, tf.data.Dataset):
        raise ConfigError(
            "shuffled takes arrays or tensors, because it reads rows by number. Received a "
            "tf.data.Dataset: pass the arrays from which it was made."
        )
    rows, pick = _rows(source)
    per_epoch = rows // batch_size if drop_remainder else math.ceil(rows / batch_size)
    if per_epoch < 1:
        raise ConfigError(
            f"An epoch has at least one batch. Received {rows} rows, batch_size={batch_size}, "
            "drop_remainder=True."
        )

    def batch(number: tf.Tensor) -> Any:
        epoch, index = number // per_epoch, number % per_epoch
        first = index * batch_size
        places = tf.range(first, tf.minimum(first + batch_size, rows))
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        return pick(
            tf.random.experimental.index_shuffle(places, key, tf.constant(rows - 1, tf.int64))
        )

    options = tf.data.Options()
    # TensorFlow refuses to save a pipeline with a Python function, which may have state. Here a row
    # depends only on its number.
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    dataset = tf.data.Dataset.counter().map(batch).with_options(options)
    dataset.batches_per_epoch = per_epoch
    return dataset


def _rows(source: Any) -> tuple[int, Callable[[tf.Tensor], Any]]:
    """Return the number of rows, and a function from a tensor of row numbers to those rows."""
    if (
        not isinstance(source, tuple | list | dict | np.ndarray | tf.Tensor)
        and hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
    ):
        return len(source), _picker(source)
    if any(isinstance(part, np.memmap) for part in tf.nest.flatten(source)):
        # As tensors, the whole file would be in memory.
        arrays = tf.nest.map_structure(np.asanyarray, source)
        return _count(arrays), _picker(_Together(arrays))
    tensors = tf.nest.map_structure(tf.convert_to_tensor, source)
    return _count(tensors), lambda rows: tf.nest.map_structure(
        lambda tensor: tf.gather(tensor, rows), tensors
    )


def _count(arrays: Any) -> int:
    """Return the number of rows that all arrays have."""
    lengths = {int(array.shape[0]) if len(array.shape) else -1 for array in tf.nest.flatten(arrays)}
    if len(lengths) != 1 or min(lengths) < 1:
        raise ConfigError(
            f"The arrays of source must have the same number of rows, at least one. Received "
            f"numbers of rows: {sorted(lengths)}."
        )
    return lengths.pop()


class _Together:
    """Several arrays that are indexed together with the same row numbers."""

    def __init__(self, arrays: Any) -> None:
        self._arrays = arrays

    def __getitem__(self, rows: np.ndarray) -> Any:
        return tf.nest.map_structure(lambda array: np.asarray(array[rows]), self._arrays)


def _picker(source: Any) -> Callable[[tf.Tensor], Any]:
    """Return a function from a tensor of row numbers to an object's rows."""

    def read(rows: np.ndarray) -> list[np.ndarray]:
        # HDF5 data sets accept only rising indices without duplicates; `back` restores the order.
        rising, back = np.unique(rows, return_inverse=True)
        return [np.asarray(part)[back] for part in tf.nest.flatten(source[rising])]

    # One row shows the structure and the types, which tf.numpy_function needs in advance.
    example = source[np.array([0])]
    parts = [np.asarray(part) for part in tf.nest.flatten(example)]

    def pick(rows: tf.Tensor) -> Any:
        values = tf.numpy_function(read, [rows], [tf.as_dtype(part.dtype) for part in parts])
        shaped = [
            tf.ensure_shape(value, (None, *part.shape[1:]))
            for value, part in zip(values, parts, strict=True)
        ]
        return tf.nest.pack_sequence_as(example, shaped)

    return pick
