"""Saves and restores the position of an iterator: its state, or a number of batches to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_captures, tf_checkpoint, tf_data, tf_data_timing, tf_iterators
from ckptkit.compat.tf_random import STATEFUL_RANDOM_OPS
from ckptkit.data.draw_meter import DrawMeter
from ckptkit.data.iterator_position import IteratorPosition
from ckptkit.log import logger
from ckptkit.tracking import shuffle_orders
from ckptkit.tracking.data_anchor import AnchorUse
from ckptkit.tracking.leaves import Tensors

_SERIALIZE_ERRORS = (tf.errors.OpError, NotImplementedError, ValueError, TypeError, AttributeError)
_PROGRESS_SECS = 5.0  # seconds between two log lines while data is read again


def reason_not_savable(iterator: Any) -> str | None:
    """Return why an iterator's state cannot be saved, or None if it can.

    Args:
        iterator: the iterator from which a loop reads; any iterable.
    """
    if isinstance(iterator, tf.distribute.DistributedIterator):
        return _reason_not_countable(iterator)
    if not isinstance(iterator, tf.data.Iterator):
        return f"{type(iterator).__name__} is not a tf.data iterator"
    # Only TensorFlow knows whether it can save it, so this tries it.
    try:
        tf_checkpoint.serialize(iterator)
    except _SERIALIZE_ERRORS as error:
        text = error.message if isinstance(error, tf.errors.OpError) else str(error)
        return (text or type(error).__name__).strip().splitlines()[0][:200]
    return reason_not_restorable(iterator)


def _reason_not_countable(iterator: Any) -> str | None:
    """Return why the batches of a strategy's iterator cannot be counted from its start, or None.

    TensorFlow cannot save such an iterator, because it reads ahead on every device. So the batches
    of its epoch are read again, and those of earlier epochs only if they change the later ones.
    """
    if not tf_iterators.has_dataset(iterator):
        return "the data that tf.distribute has split cannot be examined"
    dataset = tf_iterators.dataset_of(iterator)
    for each in tf_data.functions_of(dataset):
        # Random operations may be repeated; the last line examines them.
        stateful = set(tf_captures.unsavable_ops(each.function)).difference(STATEFUL_RANDOM_OPS)
        if stateful:
            return f"{', '.join(sorted(stateful))} in a function of the pipeline is stateful"
    return shuffle_orders.order_not_replayable(tf_data.stage_of(dataset))


def reason_not_restorable(iterator: Any) -> str | None:
    """Return why an iterator cannot be restored from TensorFlow's saved state of it, or None.

    Args:
        iterator: a tf.data iterator, or anything else, for which None is returned.
    """
    if isinstance(iterator, tf.distribute.DistributedIterator):
        return _reason_not_countable(iterator)
    if not isinstance(iterator, tf.data.Iterator):
        return None
    dataset = tf_iterators.dataset_of(iterator)
    return _reason_out_of_sight(dataset) or shuffle_orders.order_not_replayable(
        tf_data.stage_of(dataset)
    )


def _reason_out_of_sight(dataset: Any) -> str | None:
    """Return why TensorFlow will later refuse to save an iterator that it can save now, or None.

    TensorFlow checks only the stages in use. Stages below a full cache are not in use: a `fit` that
    reads a filled cache can be saved, but its resume, which fills the cache again, cannot. A
    concatenated dataset is not in use either until the pass reaches it.
    """
    for each in tf_data.functions_of(dataset):
        if each.cache is None and not each.starts_late:
            continue
        if operations := tf_captures.unsavable_ops(each.function):
            return (
                f"{', '.join(operations)} in a function of the pipeline, "
                f"{'before a cache' if each.cache is not None else 'in a later part'}, is stateful"
            )
    return None


def reason_not_repeatable(iterator: Any) -> str | None:
    """Return why a pipeline's random numbers cannot be repeated, or None if they can.

    Args:
        iterator: the iterator from which a loop reads.
    """
    if not tf_iterators.has_dataset(iterator):
        return None
    dataset = tf_iterators.dataset_of(iterator)
    if isinstance(
        iterator, tf.distribute.DistributedIterator
    ) and shuffle_orders.has_unseeded_orders(dataset):
        return (
            "the data is shuffled without a seed, and TensorFlow cannot save the position in data "
            "that tf.distribute has split. Give shuffle a seed, or call "
            "keras.utils.set_random_seed before the pipeline is built"
        )
    if drawn := tf_data_timing.parallel_draws(dataset):
        return (
            f"the data draws from {', '.join(drawn)} in a function that runs in parallel, and its "
            "threads draw in another order each time: no second run has the same numbers. Leave "
            "out num_parallel_calls there, or draw with tf.random.stateless_* from a number that "
            "comes with the element"
        )
    if tf_data_timing.comes_in_any_order(dataset):
        return (
            "the data is read in parallel with deterministic=False, so its elements come in "
            "another order each time. Leave out deterministic=False"
        )
    unseeded = tf_data.unseeded_random_ops(dataset)
    if not unseeded:
        return None
    return (
        f"the data uses {', '.join(unseeded)} without a seed, so another attempt cannot repeat "
        f"its random numbers. Call keras.utils.set_random_seed before the pipeline is built, or "
        f"give the operation a seed"
    )


def describe(iterator: Any) -> list[str]:
    """Return the stages of an iterator's pipeline, and the form of its batches.

    Args:
        iterator: the iterator from which a loop reads.
    """
    if not tf_iterators.has_dataset(iterator):
        return [type(iterator).__name__]
    dataset = tf_iterators.dataset_of(iterator)
    return [*tf_data.describe_pipeline(dataset), str(dataset.element_spec)]


def batches_of(iterator: Any, steps: int | None) -> int | None:
    """Return the number of batches in an epoch, or None if unknown.

    Args:
        iterator: the iterator of an epoch.
        steps: the number of batches in an epoch by Keras' count; None if Keras does not know it
            yet.
    """
    if steps is not None or not tf_iterators.has_dataset(iterator):
        return steps
    cardinality = int(tf_iterators.dataset_of(iterator).cardinality())
    return cardinality if cardinality >= 0 else None  # a negative number means infinite or unknown


class IteratorLeaf:
    """The iterator from which training reads, as a leaf of the state.

    Args:
        key: its key.
        path: its name in messages.
        position: the position of a tf.data iterator.
        drawn: the number of batches that the run has read from it.
        undrawn: the number of batches that the run has read before, but this process has not; see
            `restore_iterator`.
        since: the number of batches from the state in the checkpoint to its position.
    """

    kind = "trackable"
    trainable = None

    def __init__(
        self,
        key: str,
        path: str,
        position: IteratorPosition,
        drawn: int,
        undrawn: int = 0,
        since: int = 0,
    ) -> None:
        self.key = key
        self.path = path
        self._position, self._drawn = position, drawn
        self._undrawn, self._since = undrawn, since

    def capture(self) -> Tensors:
        return self._position.take(self._drawn).tensors

    @property
    def anchors(self) -> tuple[AnchorUse, ...]:
        """The anchors that the values of `capture` count from."""
        return self._position.taken.uses(self.key)

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        if not self._drawn:
            return  # a new iterator: an older version has saved the one of a finished epoch
        if isinstance(self._position.iterator, tf.distribute.DistributedIterator):
            return  # saved from one device; its batches have been read again
        position = self._position
        restore_and_draw(position.iterator, tensors, self._undrawn, self._since, position.meter)


def uses_cache(iterator: Any) -> bool:
    """Return whether an iterator's pipeline caches; see `shuffle_orders.uses_cache`."""
    if not tf_iterators.has_dataset(iterator):
        return False
    return shuffle_orders.uses_cache(tf_data.stage_of(tf_iterators.dataset_of(iterator)))


def needs_full_cache(iterator: Any, *, restores: bool) -> bool:
    """Return whether the first pass must be read again, to fill a cache.

    A restored iterator needs a full cache. Otherwise a later pass can fill it too, if every pass
    would fill it with the same elements.

    Args:
        iterator: a tf.data iterator.
        restores: whether a saved state will be restored.
    """
    stage = tf_data.stage_of(tf_iterators.dataset_of(iterator))
    return shuffle_orders.uses_cache(stage) and (restores or shuffle_orders.caches_order(stage))


def repeats_orders_in_pass(iterator: Any, *, endless: bool) -> bool:
    """Return whether one pass over the data uses several orders, because a shuffle is repeated.

    Args:
        iterator: a tf.data iterator.
        endless: whether a pipeline that repeats endlessly counts; one iterator over it may serve
            all passes.
    """
    dataset = tf_iterators.dataset_of(iterator)
    return shuffle_orders.repeats_orders(tf_data.stage_of(dataset)) and (
        endless or int(dataset.cardinality()) != tf.data.INFINITE_CARDINALITY
    )


def restore_and_draw(
    iterator: Any, tensors: Mapping[str, tf.Tensor], undrawn: int, since: int, meter: DrawMeter
) -> None:
    """Restore an iterator's saved state, and draw the batches since then.

    Args:
        iterator: a tf.data iterator from which at least one batch was read.
        tensors: the saved state.
        undrawn: the number of batches that the run has read before, but this process has not.
        since: the number of batches that the run has read after the saved state.
        meter: gets the time that drawing takes.
    """
    if undrawn > since:
        restore_iterator(iterator, tensors, undrawn - since)
        meter.draw(lambda: draw_batches(iterator, since))
    elif shuffle_orders.has_unseeded_orders(tf_iterators.dataset_of(iterator)):
        # What this process has drawn had another order.
        tf_checkpoint.deserialize(iterator, tensors)
        meter.draw(lambda: draw_batches(iterator, since))
    else:
        meter.draw(lambda: draw_batches(iterator, undrawn))


def restore_iterator(iterator: Any, tensors: Mapping[str, tf.Tensor], undrawn: int) -> None:
    """Restore an iterator's saved state, and the shuffle orders of later iterators.

    A shuffle derives its order from a counter that all iterators of a dataset share. Its saved
    state contains the counter only while the shuffle has data. Near the end of an epoch some
    shuffles have none, and to assign their state changes their counters. The state from this
    iterator's start, assigned to another iterator, corrects these counters.

    In a pipeline that repeats, that state may belong to another repetition. Then the batches are
    read once more instead.

    Args:
        iterator: a tf.data iterator from which at least one batch was read.
        tensors: the saved state.
        undrawn: the number of batches that the run has read before, but this process has not.
    """
    if undrawn <= 0:
        return
    beginning = tf_checkpoint.serialize(iterator)
    if _shuffles(tensors) >= _shuffles(beginning):
        tf_checkpoint.deserialize(iterator, tensors)
    elif repeats_orders_in_pass(iterator, endless=True):
        logger.info(
            "the run was interrupted between two repetitions of the data: reading %d batches "
            "again, without training",
            undrawn,
        )
        draw_batches(iterator, undrawn)
    else:
        tf_checkpoint.deserialize(iterator, tensors)
        tf_checkpoint.deserialize(iter(tf_iterators.dataset_of(iterator)), beginning)


def _shuffles(tensors: Mapping[str, tf.Tensor]) -> int:
    """Return the number of shuffles that have data in a saved state."""
    return sum(tf_data.shuffles_in(tensor) for tensor in tensors.values())


def draw_batches(iterator: Iterator[Any], batches: int) -> int:
    """Read batches and discard them.

    Args:
        iterator: the iterator to read from.
        batches: the number of batches.

    Returns:
        The number of batches that were read; fewer than `batches` if the data ended.
    """
    for done in range(batches):
        try:
            next(iterator)
        # `next` of an eager iterator raises StopIteration, inside a function OutOfRangeError.
        except (StopIteration, tf.errors.OutOfRangeError):
            return done
    return batches


class DrawProgress:
    """Logs every few seconds how much of the data was read again.

    Args:
        total: the number of batches to read.
        clock: returns monotonic seconds.
    """

    def __init__(self, total: int, clock: Any) -> None:
        self._total = total
        self._clock = clock
        self._done = 0
        self._logged_at = clock()

    def add(self, batches: int) -> None:
        """Count batches that were read."""
        self._done += batches
        if self._clock() - self._logged_at >= _PROGRESS_SECS:
            self._logged_at = self._clock()
            logger.info(
                "reading data again up to the position of the run: %d of %d batches",
                self._done,
                self._total,
            )
