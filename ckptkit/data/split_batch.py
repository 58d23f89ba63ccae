"""Splits the batches of a loop for the replicas of a strategy, as `tf.distribute` splits them.

The iterator that TensorFlow makes for several devices cannot be saved, because it reads ahead on
each of them. The one of the plain dataset can, and its batches are split here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ckptkit.errors import ConfigError


def splitter(strategy: Any) -> Callable[[Any], Any]:
    """Return a function that splits a batch for the replicas of a strategy.

    Args:
        strategy: the strategy; None leaves batches as they are.
    """
    if strategy is None:
        return lambda batch: batch
    devices = strategy.extended.worker_devices

    def split(batch: Any) -> Any:
        parts = [_parts(value, devices) for value in tf.nest.flatten(batch)]
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.nest.pack_sequence_as(
                batch, [each[context.replica_id_in_sync_group] for each in parts]
            )
        )

    return split


def _parts(value: Any, devices: Sequence[str]) -> list[Any]:
    """Return the rows of a value for each device: equally many, and at the end the rest or none."""
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
    size = -(-rows // len(devices))
    found = []
    for number, device in enumerate(devices):
        start = min(number * size, rows)
        with tf.device(device):
            found.append(_rows(value, start, min(start + size, rows)))
    return found


def _rows(value: Any, start: int, end: int) -> Any:
    if not isinstance(value, tf.SparseTensor):
        return value[start:end]
    beginning = [start, *[0] * (value.shape.rank - 1)]
    return tf.sparse.slice(value, beginning, [end - start, *value.dense_shape[1:]])
