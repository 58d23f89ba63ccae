"""Advances the counters of shuffles by many epochs, without the rest of their pipelines.

To make an iterator over a whole pipeline takes TensorFlow several milliseconds, most of them to
optimize the pipeline. An iterator over the shuffle alone advances the same counter in a twentieth
of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_data
from ckptkit.tracking.shuffle_orders import advances_when_made, draws_order


class OrderCounters:
    """The counters of a pipeline for which `advances_when_made` is true.

    It takes the place of the dataset: each iterator over it advances the counters as an iterator
    over the dataset does, and has no batches.

    Args:
        dataset: the last stage of the pipeline.
    """

    def __init__(self, dataset: Any) -> None:
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        self._stages = [each.with_options(options) for each in _stages_with_counters(dataset)]

    def __iter__(self) -> Iterator[Any]:
        for each in self._stages:
            iter(each)
        return iter(())


def counters_of(iterator: Any) -> OrderCounters | None:
    """Return the counters of an iterator's pipeline; None if only reading batches advances them.

    Args:
        iterator: the iterator from which training reads.
    """
    if not isinstance(iterator, tf.data.Iterator):
        return None
    dataset = tf_data.dataset_of(iterator)
    if not advances_when_made(tf_data.stage_of(dataset)):
        return None
    return OrderCounters(dataset)


def _stages_with_counters(dataset: Any) -> Iterator[Any]:
    """Yield the shuffles of a pipeline, each as often as one iterator makes an iterator over it."""
    stage = tf_data.stage_of(dataset)
    if not draws_order(stage):
        return
    if not any(map(draws_order, stage.inputs)):
        yield dataset
        return
    for each in tf_data.inputs_of(dataset):
        yield from _stages_with_counters(each)
