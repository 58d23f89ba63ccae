"""Replays the training and the evaluations of earlier attempts without computing them.

Keras' loops run from the first epoch on, with a train function that trains nothing, hidden from the
other callbacks. So Keras makes the same iterators in the same order, and its counts are right. One
batch is read from each new iterator, because that advances the counters of shuffles. Calls that
need to read nothing are skipped.

The very first call is a real step, because it builds and traces everything as in the first attempt.
Its result is overwritten when the position is reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import tensorflow as tf

from ckptkit.compat import keras_fit, tf_iterators
from ckptkit.compat.tf_summary import write_summaries_if
from ckptkit.data.draw_meter import DrawMeter
from ckptkit.data.iterator_state import (
    DrawProgress,
    draw_batches,
    needs_full_cache,
    reason_not_restorable,
    repeats_orders_in_pass,
    uses_cache,
)
from ckptkit.data.shuffle_counters import OrderCounters, counters_of
from ckptkit.data.start_orders import StartOrders
from ckptkit.keras.fit.fit_position import EpochPass, FitPosition
from ckptkit.keras.fit.past_epochs import PastEpochs


class TrainReplay:
    """Replays calls of the train function up to a position.

    Args:
        position: the position to replay to.
        step: the real train function.
        epoch_iterator: the object over which Keras' training loop iterates.
        counted: the number of batches to draw from the start of the current iterator, because the
            checkpoint has no state of it; 0 if it has one.
        meter: gets the time that reading takes.
        orders: the orders with which a later epoch began, or None; see `StartOrders`.

    Attributes:
        iterator: the iterator from which Keras has read last, or None.
    """

    def __init__(
        self,
        position: FitPosition,
        step: Callable[[Any], Any],
        epoch_iterator: Any,
        *,
        counted: int = 0,
        meter: DrawMeter,
        orders: StartOrders | None = None,
    ) -> None:
        self._position = position
        self._step = step
        self._epoch_iterator = epoch_iterator
        self._steps_per_epoch: int | None = getattr(epoch_iterator, "steps_per_epoch", None)
        self._epoch = position.first_epoch
        self._calls = 0
        self._counted, self._meter = counted, meter
        self._stepped = False
        self.iterator: Any = None
        self._made = 0  # batches that the run has drawn from this iterator
        self._drawn = 0  # batches of these that were drawn again
        self._cached = self._repeats = False
        self._past = PastEpochs(position, epoch_iterator, orders)
        self._progress = DrawProgress(position.per_call * position.train_calls, time.monotonic)

    def epoch_began(self, epoch: int) -> None:
        """Note that Keras has begun an epoch, and set the number of batches that it had."""
        self._epoch, self._calls = epoch, 0
        self._past.epoch_began(epoch)
        steps = self._steps_per_epoch
        if steps is not None and epoch < self._position.epoch:
            # A changed `steps_per_epoch` counts from the current epoch on. If the data has ended an
            # epoch, one more call received no batch.
            steps = (self._pass.calls + self._pass.ended) * self._position.per_call
        if steps:
            keras_fit.set_steps_per_epoch(self._epoch_iterator, steps)

    @property
    def _pass(self) -> EpochPass:
        index = self._epoch - self._position.first_epoch
        epochs = self._position.epochs
        return epochs[index] if index < len(epochs) else self._position.now

    @property
    def _has_made_all(self) -> bool:
        return self._epoch == self._position.epoch and self._calls == self._position.now.calls

    def arrives(self) -> bool:
        """Whether the current call is the first one that no earlier attempt has made."""
        return self._has_made_all and not self._position.evaluating

    def arrives_at_evaluation(self) -> bool:
        """Whether the run was stopped in the evaluation that follows the last call."""
        return self._has_made_all and self._position.evaluating

    def missing(self, iterator: Any) -> int:
        """Return the number of batches that the run has read and this replay has skipped."""
        return self._made - self._drawn if iterator is self.iterator else 0

    def made(self, iterator: Any) -> int:
        """Return the number of batches that the run has read from an iterator."""
        return self._made if iterator is self.iterator else 0

    def meet(self, iterator: Any) -> StartOrders | None:
        """Note the iterator of the current call, and give it the orders of its epoch.

        Args:
            iterator: the argument of the call.

        Returns:
            The orders with which the epoch began, if the checkpoint has them.
        """
        if iterator is not self.iterator:
            self.iterator, self._made, self._drawn = iterator, 0, 0
        return self._past.restore_orders(iterator, self._epoch)

    def replay_call(self, iterator: Any) -> None:
        """Replay a call of the train function, and skip later calls that need no replay.

        Args:
            iterator: the argument of the call.

        Raises:
            StopIteration: If the data had ended there.
        """
        self.meet(iterator)
        if self._calls >= self._pass.calls:
            if self._draws_all:
                # To find the end is also a draw, which a generator notices.
                draw_batches(iterator, 1)
            raise StopIteration
        self._draw_for_call(iterator)
        left = 0 if self._draws_all else self._pass.calls - self._calls - 1
        calls = 1 + keras_fit.skip_calls(self._epoch_iterator, left)
        self._made += calls * self._position.per_call
        self._calls += calls
        self._progress.add(calls * self._position.per_call)

    def _draw_for_call(self, iterator: Any) -> None:
        per_call, counters = self._position.per_call, self._past.counters
        if not self._stepped:
            self._stepped = True
            if self._position.drawn_again is None:
                # An older version has saved a state that TensorFlow cannot restore, or the pipeline
                # has changed.
                self._position.drawn_again = reason_not_restorable(iterator)
            if self._position.drawn_again is None:
                self._cached = needs_full_cache(iterator, restores=not self._counted)
                self._repeats = repeats_orders_in_pass(iterator, endless=False)
            self._past.met(iterator, self._epoch)
            with suppressed_summaries():
                self._step(iterator)
            self._drawn += per_call
        elif self._draws_all:
            self._drawn += self._meter.draw(lambda: draw_batches(iterator, per_call))
        elif self._past.are_skipped(self._epoch):
            pass
        elif counters is not None and not tf_iterators.has_dataset(iterator):
            if self._calls == 0:
                counters.read_first()
        elif self._drawn == 0 and not (_advances_when_made(counters) and self._is_past):
            # A shuffle derives the order of this pass from its counter at the first draw.
            self._drawn += draw_batches(iterator, 1)

    def iterate_over_data(self) -> None:
        """Let Keras make whole iterators again."""
        self._past.iterate_over_data()

    @property
    def _draws_all(self) -> bool:
        """Whether every batch has to be read again.

        That is so if no state was saved, if the first epoch fills a cache, or if an epoch uses
        several orders. If an iterator's state was saved, the last epoch needs only its first batch.
        """
        if self._stepped and self._past.are_skipped(self._epoch):
            return False
        past = self._is_past or self._position.evaluating
        return (
            self._position.drawn_again is not None
            or (self._cached and self._epoch == self._position.first_epoch)
            or (self._repeats and past)
            or (self._counted > 0 and (not past or self._is_kept))
        )

    @property
    def _is_past(self) -> bool:
        return self._epoch < self._position.epoch

    @property
    def _is_kept(self) -> bool:
        """Whether the current iterator has served earlier epochs too."""
        return self._counted > self._position.now.calls * self._position.per_call


def _advances_when_made(counters: OrderCounters | None) -> bool:
    return counters is not None and counters.advance_when_made


@contextmanager
def suppressed_summaries() -> Iterator[None]:
    """In the block, trace the summaries of a train step, but do not write them."""
    # The function that is traced here trains later. So it must read from a variable at each step
    # whether to write, instead of a traced constant.
    writes = _writes_summaries()
    writes.assign(False)
    try:
        with write_summaries_if(writes.read_value):
            yield
    finally:
        writes.assign(True)


@cache
def _writes_summaries() -> tf.Variable:
    """Return the variable that controls whether summaries are written.

    The process has only one, because traced functions read it as long as they exist.
    """
    return tf.Variable(True, trainable=False, name="ckptkit_writes_summaries")


class EvaluationReplay:
    """Replays calls of the test function up to a position.

    Args:
        position: the position to replay to.
        skipped: the number of evaluations in the epochs that Keras' loop leaves out.
    """

    def __init__(self, position: FitPosition, skipped: int = 0) -> None:
        self._position = position
        self._index = skipped - 1
        self._seen = 0  # evaluations in this process
        self._calls = 0
        self._epoch_iterator: Any = None
        self._first: Any = None  # the object of the first evaluation
        self._cached = self._repeats = False
        self._counters: OrderCounters | None = None
        self._dataset: Any = None  # while Keras iterates over the counters instead

    @property
    def begun(self) -> int:
        """The number of evaluations that Keras has begun."""
        return self._index + 1

    def evaluation_began(self, epoch_iterator: Any) -> None:
        """Note that Keras has begun an evaluation.

        Args:
            epoch_iterator: the object over which Keras' loop iterates, or None if unknown.
        """
        self._index += 1
        self._calls, self._epoch_iterator = 0, epoch_iterator
        self._seen += 1
        if self._seen == 1:
            self._first = epoch_iterator
        # A custom `evaluate` may make another object each time, with other counters.
        elif (
            self._counters is not None
            and not self.is_new
            and epoch_iterator is not None
            and epoch_iterator is self._first
        ):
            self._dataset = keras_fit.iterate_over(epoch_iterator, self._counters)

    def evaluation_ended(self) -> None:
        """Note that the loop of an evaluation is over: the next one may be new."""
        if self._dataset is not None:
            keras_fit.iterate_over(self._first, self._dataset)
            self._dataset = None

    @property
    def is_new(self) -> bool:
        """Whether no earlier attempt has made the current evaluation."""
        return self._index >= len(self._position.evaluations)

    def replay_call(self, iterator: Any) -> None:
        """Replay a call of the test function, and skip later calls that need no replay.

        Args:
            iterator: the argument of the call.

        Raises:
            StopIteration: If the data ended at this call.
        """
        made = self._position.evaluations[self._index]
        drawn_again = self._position.evaluation_drawn_again is not None
        if self._seen == 1 and self._calls == 0 and not drawn_again:
            self._cached = uses_cache(iterator)
            self._repeats = tf_iterators.has_dataset(iterator) and repeats_orders_in_pass(
                iterator, endless=True
            )
            self._counters = counters_of(iterator)
        draws_all = drawn_again or self._repeats or (self._cached and self._index == 0)
        if self._calls >= made.calls:
            if draws_all:
                # To find the end is also a draw, which a generator notices.
                draw_batches(iterator, 1)
            raise StopIteration
        if self._counters is not None and not tf_iterators.has_dataset(iterator):
            if self._calls == 0:
                self._counters.read_first()
        elif draws_all:
            draw_batches(iterator, self._position.per_call)
        elif self._calls == 0 and not _advances_when_made(self._counters):
            # A shuffle derives the order of this pass from its counter at the first draw.
            draw_batches(iterator, 1)
        left = 0 if draws_all else made.calls - self._calls - 1
        self._calls += 1 + keras_fit.skip_calls(self._epoch_iterator, left)
