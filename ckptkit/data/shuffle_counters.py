"""Advances the counters of shuffles by many epochs, without the rest of their pipelines.

Building an iterator for the whole pipeline is slow. TensorFlow optimizes the pipeline, and the
first batch fills all buffers. An iterator over the shuffle alone advances the same counter about 20
times faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_data, tf_iterators
from ckptkit.tracking.shuffle_orders import SHUFFLES, counts_passes, draws_order


class OrderCounters:
    """The counters of a pipeline for which `counts_passes` is true.

    It takes the place of the dataset: each iterator over it advances the counters as an iterator
    over the dataset does, and has no batches.

    Args:
        dataset: the last stage of the pipeline.
    """

    def __init__(self, dataset: Any) -> None:
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        self._made: list[Any] = []
        self._read: list[Any] = []
        for shuffle, is_below in _shuffles(dataset):
            (self._read if is_below else self._made).append(shuffle.with_options(options))

    def __iter__(self) -> Iterator[Any]:
        _advance(self._made)
        return iter(())

    def read_first(self) -> None:
        """Advance the counters that advance when an iterator's first batch is read."""
        _advance(self._read)

    @property
    def advance_when_made(self) -> bool:
        """Whether making an iterator advances all counters."""
        return not self._read


def _advance(shuffles: list[Any]) -> None:
    for each in shuffles:
        iter(each)


def counters_of(iterator: Any) -> OrderCounters | None:
    """Return the counters of an iterator's pipeline; None if only reading batches advances them.

    Args:
        iterator: the iterator from which training reads.
    """
    if not tf_iterators.has_dataset(iterator):
        return None
    dataset = tf_iterators.dataset_of(iterator)
    return OrderCounters(dataset) if counts_passes(tf_data.stage_of(dataset)) else None


def count_shuffles(dataset: Any) -> int:
    """Return how many shuffles one iterator over a pipeline has, wherever they stand in it.

    Args:
        dataset: the last stage of the pipeline.
    """
    return sum(1 for _ in _shuffles(dataset))


def _shuffles(dataset: Any, *, is_below: bool = False) -> Iterator[tuple[Any, bool]]:
    """Yield each shuffle as often as a pass makes an iterator over it, and if it feeds another one.

    Args:
        dataset: the last stage of the pipeline.
        is_below: whether it feeds a shuffle.
    """
    stage = tf_data.stage_of(dataset)
    if not draws_order(stage):
        return
    if stage.kind in SHUFFLES:
        yield dataset, is_below
        is_below = True
    for each in tf_data.inputs_of(dataset):
        yield from _shuffles(each, is_below=is_below)
