"""Splits the batches of a loop for the replicas of a strategy, as `tf.distribute` splits them.

The iterator that TensorFlow makes for several devices cannot be saved, because it reads ahead on
each of them. The one of the plain dataset can, and its batches are split here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_distribute
from ckptkit.errors import ConfigError


def splitter(dataset: Any, strategy: Any) -> Callable[[Any], Any]:
    """Return a function that splits a batch for the replicas of a strategy.

    Args:
        dataset: what yields the batches. Its own batch size counts, because the first batch after a
            resume may be a short one.
        strategy: the strategy; None leaves batches as they are.
    """
    if strategy is None:
        return lambda batch: batch
    devices = strategy.extended.worker_devices
    sizes = _Sizes(dataset, len(devices))

    def split(batch: Any) -> Any:
        parts = [_parts(value, devices, sizes) for value in tf.nest.flatten(batch)]
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.nest.pack_sequence_as(
                batch, [each[context.replica_id_in_sync_group] for each in parts]
            )
        )

    return split


class _Sizes:
    """How many rows of a batch each replica gets."""

    def __init__(self, dataset: Any, replicas: int) -> None:
        self._dataset = dataset
        self._replicas = replicas
        is_pipeline = isinstance(dataset, tf.data.Dataset)
        self._usual = tf_distribute.batch_size_of(dataset) if is_pipeline else None
        # TensorFlow splits no other iterables; even parts avoid empty ones. None: not asked yet.
        self._is_even = None if is_pipeline and self._usual else not is_pipeline

    def of(self, rows: int) -> list[int]:
        """Return the number of rows for each replica.

        Args:
            rows: the number of rows in a batch.
        """
        full = self._filled([-(-rows // self._replicas)] * self._replicas, rows)
        usual = rows if self._usual is None else self._usual
        least, more = divmod(usual, self._replicas)
        even = [least + (number < more) for number in range(self._replicas)]
        if rows > usual:  # the pipeline has told a wrong size: no row may be lost
            return full
        even = self._filled(even, rows)
        if self._is_even is None and even != full:
            self._is_even = tf_distribute.splits_evenly(self._dataset, self._replicas, usual)
        return even if self._is_even else full

    def _filled(self, sizes: list[int], rows: int) -> list[int]:
        found = []
        for size in sizes:
            found.append(min(size, rows))
            rows -= found[-1]
        return found


def _parts(value: Any, devices: Sequence[str], sizes: _Sizes) -> list[Any]:
    """Return the rows of a value for each device."""
    if value is None:
        return [None] * len(devices)
    if not isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        value = tf.convert_to_tensor(value)
    if not value.shape.rank:
        raise ConfigError(
            "manager.data(dataset, strategy=...) gives each replica some rows of a batch. Received "
            f"a batch with a value that has no rows: {value!r}. Batch the dataset first, as in "
            "dataset.batch(n)."
        )
    rows = int(value.shape[0] if value.shape[0] is not None else value.nrows())
    found, start = [], 0
    for size, device in zip(sizes.of(rows), devices, strict=True):
        with tf.device(device):
            found.append(_rows(value, start, start + size))
        start += size
    return found


def _rows(value: Any, start: int, end: int) -> Any:
    if not isinstance(value, tf.SparseTensor):
        return value[start:end]
    beginning = [start, *[0] * (value.shape.rank - 1)]
    return tf.sparse.slice(value, beginning, [end - start, *value.dense_shape[1:]])
