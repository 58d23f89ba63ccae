"""Past epochs of a resume: what Keras' loop iterates over in them, instead of the data."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from ckptkit.compat import keras_fit, tf_data, tf_iterators
from ckptkit.data.shuffle_counters import OrderCounters, counters_of
from ckptkit.data.start_orders import NoBatches, StartOrders
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.tracking.shuffle_orders import draws_order


class EpochsLeftOut(NamedTuple):
    """The epochs and evaluations that a resume leaves out of Keras' loop.

    Args:
        first_epoch: the epoch with which the loop begins.
        evaluations: the number of evaluations before it.
    """

    first_epoch: int
    evaluations: int = 0


def epochs_left_out(
    call: keras_fit.FitCall, position: FitPosition, orders: StartOrders | None
) -> EpochsLeftOut:
    """Return how many epochs Keras' loop leaves out, because nothing needs them.

    Args:
        call: what the `fit` was called with.
        position: the position to replay to.
        orders: the orders with which the last epoch began, or None.
    """
    everything = EpochsLeftOut(position.first_epoch)
    if (
        orders is None
        or orders.passes != len(position.epochs)
        or position.drawn_again is not None
        or not keras_fit.makes_same_iterators(call)
        or not orders.fits(keras_fit.dataset_of_epochs(call))
    ):
        return everything
    # A call that is new must come after one that has built and traced everything.
    first = position.epoch if position.now.calls else position.epoch - 1
    done = first - position.first_epoch
    # An evaluation that is new, or missing now, is noticed only if the past ones are run through.
    if call.validates != bool(position.evaluations):
        return everything
    if not position.evaluations:
        return EpochsLeftOut(first)
    # With `validation_freq`, some epochs have no evaluation.
    same_each_time = (
        position.evaluation_drawn_again is None
        and call.validation_freq == 1
        and len(position.evaluations) == len(position.epochs)
        and _draws_nothing(call.evaluation_data)
    )
    return EpochsLeftOut(first, done) if same_each_time else everything


def _draws_nothing(data: Any) -> bool:
    """Return whether all passes over the data of evaluations are alike."""
    if data is None:
        return True  # arrays, which Keras does not shuffle
    return isinstance(data, tf.data.Dataset) and not draws_order(tf_data.stage_of(data))


class PastEpochs:
    """The epochs that are over, for which Keras' loop need not make whole iterators.

    Args:
        position: the position to replay to.
        epoch_iterator: the object over which Keras' training loop iterates.
        orders: the orders with which a later epoch began, or None.

    Attributes:
        counters: the counters of the data, or None if only reading batches advances them.
    """

    def __init__(
        self, position: FitPosition, epoch_iterator: Any, orders: StartOrders | None
    ) -> None:
        self._position = position
        self._epoch_iterator = epoch_iterator
        self._orders = orders
        self.counters: OrderCounters | None = None
        self._dataset: Any = None  # while Keras iterates over another object
        self._restored = False

    @property
    def _is_steady(self) -> bool:
        """Whether each epoch has an iterator of its own; with `steps_per_epoch`, it may not."""
        return getattr(self._epoch_iterator, "steps_per_epoch", None) is None

    def are_skipped(self, epoch: int) -> bool:
        """Return whether nothing is read in an epoch, because the orders of a later one are known.

        Args:
            epoch: the number of the epoch.
        """
        if self._orders is None:
            return False
        return epoch - self._position.first_epoch < self._orders.passes

    def _restores_in(self, epoch: int) -> bool:
        """Return whether the iterator of an epoch gets the orders with which it began."""
        orders = self._orders
        return orders is not None and epoch - self._position.first_epoch == orders.passes

    def met(self, iterator: Any, epoch: int) -> None:
        """Examine the data, before its first batch is read.

        Args:
            iterator: the iterator of the first epoch of Keras' loop.
            epoch: the number of that epoch.
        """
        if self._position.drawn_again is not None:
            self._orders = None
            return
        if self._orders is not None and not (
            self._is_steady
            and isinstance(iterator, tf.data.Iterator)
            and self._orders.fits(tf_iterators.dataset_of(iterator))
        ):
            self._orders = None
        self.counters = counters_of(iterator)
        self._iterate_over_less(epoch)

    def epoch_began(self, epoch: int) -> None:
        """Let Keras make whole iterators of an epoch, or not.

        Args:
            epoch: the number of the epoch.
        """
        if self._dataset is not None:
            self.iterate_over_data()
            self._iterate_over_less(epoch)

    def _iterate_over_less(self, epoch: int) -> None:
        less: Any = None
        if self.are_skipped(epoch):
            less = NoBatches()
        elif (
            self.counters is not None
            and epoch < self._position.epoch
            and self._is_steady
            and not self._restores_in(epoch)  # which needs a whole iterator
        ):
            less = self.counters
        if less is not None:
            self._dataset = keras_fit.iterate_over(self._epoch_iterator, less)

    def iterate_over_data(self) -> None:
        """Let Keras make whole iterators again."""
        if self._dataset is not None:
            keras_fit.iterate_over(self._epoch_iterator, self._dataset)
            self._dataset = None

    def restore_orders(self, iterator: Any, epoch: int) -> StartOrders | None:
        """Give the first iterator that is not skipped the orders of its epoch.

        Args:
            iterator: the iterator of the epoch; nothing was read from it.
            epoch: the number of the epoch.

        Returns:
            The orders, if they are those of this epoch.
        """
        if self._orders is None or not self._restores_in(epoch):
            return None
        if not self._restored:
            self._restored = True
            self._orders.restore(iterator)
        return self._orders
