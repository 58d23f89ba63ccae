"""Private names of iterators: the dataset that one reads, alone or under a strategy.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def iterator_of(value: Any) -> Any:
    """Return the tf.data iterator of a value: itself, or the one inside an `as_numpy_iterator`.

    Reason: `as_numpy_iterator` gives no public access to its iterator.

    Returns:
        The iterator, or None if the value is neither.
    """
    held = getattr(value, "_iterator", value)
    return held if isinstance(held, tf.data.Iterator) else None


def dataset_of(iterator: Any) -> Any:
    """Return the dataset that an iterator reads; under a strategy, the one before it was split.

    Reason: in `fit` Keras makes the iterator, and gives no public access to the dataset.

    Args:
        iterator: an iterator for which `has_dataset` is true.
    """
    if isinstance(iterator, tf.distribute.DistributedIterator):
        return _before_it_was_split(iterator._iterators[0]._dataset)
    return iterator._dataset


def has_dataset(iterator: Any) -> bool:
    """Return whether the dataset that an iterator reads is known.

    Reason: see `dataset_of`. TensorFlow can make the iterator of a strategy from parts, without a
    dataset.
    """
    if isinstance(iterator, tf.distribute.DistributedIterator):
        # With several inputs, each reads a part of the data.
        inputs: list[Any] = getattr(iterator, "_iterators", [])
        return len(inputs) == 1 and hasattr(inputs[0], "_dataset")
    return isinstance(iterator, tf.data.Iterator)


def _before_it_was_split(dataset: Any) -> Any:
    """Return the user's dataset below the stages that `experimental_distribute_dataset` adds.

    They split each batch for the replicas, and would make the same data look like another pipeline
    on another number of devices. Reason: only the iterator is known, not what made it.
    """
    whole = dataset
    if type(dataset).__name__ == "_AutoShardDataset":
        whole = dataset._input_dataset
    found = whole
    for kinds in _SPLITTING_STAGES:
        if type(found).__name__ not in kinds:
            return whole  # one replica gets whole batches
        found = found._input_dataset
    return found


_SPLITTING_STAGES = (
    ("_PrefetchDataset",),
    ("_RebatchDataset", "_LegacyRebatchDataset"),
    ("_RestructuredDataset",),
    ("_MapDataset",),
)
"""The classes of the stages that split batches for several replicas, from the last one."""
