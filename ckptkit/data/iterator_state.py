"""Where data stands: an iterator's state where TensorFlow can save it, and otherwise how much was
drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_checkpoint, tf_data
from ckptkit.log import logger
from ckptkit.tracking import pipeline_orders
from ckptkit.tracking.leaves import Tensors

_CANNOT = (tf.errors.OpError, NotImplementedError, ValueError, TypeError, AttributeError)
_PROGRESS_SECS = 5.0


def why_not_saved(iterator: Any) -> str | None:
    """Why an iterator's state cannot be saved, or None where it can."""
    if not isinstance(iterator, tf.data.Iterator):
        return f"{type(iterator).__name__} is no iterator of tf.data"
    try:
        tf_checkpoint.serialize(iterator)
    except _CANNOT as error:
        text = error.message if isinstance(error, tf.errors.OpError) else str(error)
        return (text or type(error).__name__).strip().splitlines()[0][:200]
    return pipeline_orders.hidden_orders(tf_data.stage_of(tf_data.dataset_of(iterator)))


def why_not_again(iterator: Any) -> str | None:
    """Why a pipeline's random numbers cannot be drawn a second time, or None where nothing speaks
    against it.
    """
    unseeded = (
        tf_data.unseeded_random_ops(tf_data.dataset_of(iterator))
        if isinstance(iterator, tf.data.Iterator)
        else []
    )
    if not unseeded:
        return None
    return (
        f"the data draws from {', '.join(unseeded)} without a seed, which no other attempt can "
        "draw again. Call keras.utils.set_random_seed "
        f"before the pipeline is built, or give the operation a seed"
    )


def describe(iterator: Any) -> list[str]:
    """What an iterator's pipeline is made of, and the form of its batches."""
    if not isinstance(iterator, tf.data.Iterator):
        return [type(iterator).__name__]
    return [*tf_data.describe_pipeline(tf_data.dataset_of(iterator)), str(iterator.element_spec)]


def batches_of(iterator: Any, steps: int | None) -> int | None:
    """How many batches the data of an epoch has, as far as it is known: what Keras counts, or what
    the pipeline says.

    Args:
        iterator: that an epoch draws from.
        steps: batches in an epoch, as Keras knows them.
    """
    if steps is not None or not isinstance(iterator, tf.data.Iterator):
        return steps
    cardinality = int(tf_data.dataset_of(iterator).cardinality())
    return cardinality if cardinality >= 0 else None


class IteratorLeaf:
    """The state of the iterator that training draws from now. It is left out where it cannot be
    saved.

    Args:
        key: its key.
        path: how to name it.
        iterator: of tf.data.
        missing: batches that the run has drawn from it, and that were not drawn again yet; see
            `put_back`.
    """

    kind = "trackable"
    trainable = None

    def __init__(self, key: str, path: str, iterator: Any, missing: int = 0) -> None:
        self.key = key
        self.path = path
        self._iterator = iterator
        self._missing = missing

    def capture(self) -> Tensors:
        return tf_checkpoint.serialize(self._iterator)

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        put_back(self._iterator, tensors, self._missing)


def keeps_a_cache(iterator: Any) -> bool:
    """Whether a pipeline caches; see `pipeline.keeps_a_cache`."""
    return pipeline_orders.keeps_a_cache(tf_data.stage_of(tf_data.dataset_of(iterator)))


def repeats_within(iterator: Any, *, endless: bool) -> bool:
    """Whether a pass over the data draws several orders, because the pipeline repeats.

    Args:
        iterator: of tf.data.
        endless: whether a pipeline that repeats without end counts; one iterator over it may serve
            all passes.
    """
    dataset = tf_data.dataset_of(iterator)
    return pipeline_orders.repeats_orders(tf_data.stage_of(dataset)) and (
        endless or int(dataset.cardinality()) != tf.data.INFINITE_CARDINALITY
    )


def put_back(iterator: Any, tensors: Mapping[str, tf.Tensor], missing: int) -> None:
    """Brings an iterator to a saved state, so that it goes on, and so that the iterators made after
    it draw what they would have drawn.

    A shuffle draws its order from a counter that all iterators of a dataset share, and its saved
    state has the counter only while it holds data. Near the end of an epoch some hold none any
    more: assigning such a state moves their counters. They are then set right by the state from the
    iterator's beginning, assigned to another iterator. Where a pipeline repeats, that state may be
    one of another repetition, and the batches are drawn once more instead.

    Args:
        iterator: of tf.data; at least one batch was drawn from it.
        tensors: the saved state.
        missing: batches that the run has drawn from it, and that were not drawn again yet.
    """
    if missing <= 0:
        return
    beginning = tf_checkpoint.serialize(iterator)
    if _shuffles(tensors) >= _shuffles(beginning):
        tf_checkpoint.deserialize(iterator, tensors)
    elif repeats_within(iterator, endless=True):
        logger.info(
            "the run was between two repetitions of the data: %d batches are drawn again, without "
            "training",
            missing,
        )
        draw(iterator, missing)
    else:
        tf_checkpoint.deserialize(iterator, tensors)
        tf_checkpoint.deserialize(iter(tf_data.dataset_of(iterator)), beginning)


def _shuffles(tensors: Mapping[str, tf.Tensor]) -> int:
    return sum(tf_data.shuffles_in(tensor) for tensor in tensors.values())


def draw(iterator: Iterator[Any], batches: int) -> int:
    """Draws batches and forgets them.

    Returns:
        How many there were; fewer than `batches` where the data ended.
    """
    for done in range(batches):
        try:
            next(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            return done
    return batches


class DrawProgress:
    """Says now and then how far drawing again has come, where it takes long.

    Args:
        total: batches to draw.
        clock: monotonic seconds.
    """

    def __init__(self, total: int, clock: Any) -> None:
        self._total = total
        self._clock = clock
        self._done = 0
        self._said = clock()

    def add(self, batches: int) -> None:
        """Some more were drawn."""
        self._done += batches
        if self._clock() - self._said >= _PROGRESS_SECS:
            self._said = self._clock()
            logger.info(
                "drawing data again up to where the run was: %d of %d batches",
                self._done,
                self._total,
            )
