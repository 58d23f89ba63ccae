"""Replaying training: the calls of Keras' train function that earlier attempts have made.

Keras' loops run from the first epoch on, with a train function that trains nothing, and the other
callbacks do not see it. So Keras makes the same iterators in the same order, its own counts are
right, and every shuffle has drawn as often as it had: one batch is drawn from each new iterator,
which is what advances the counters of shuffles. Calls for which nothing has to be drawn are left
out of the loops. The very first call is a real step, thrown away: it builds and traces everything
exactly as it was built then, and all of it is overwritten when the position is reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ckptkit.compat import keras_fit
from ckptkit.data.iterator_state import (
    DrawProgress,
    draw_batches,
    reason_not_restorable,
    repeats_orders_in_pass,
    uses_cache,
)
from ckptkit.keras.fit.fit_position import EpochPass, FitPosition
from ckptkit.keras.fit.suppress_summaries import suppressed_summaries


class TrainReplay:
    """Replays calls of the train function, up to a position.

    Args:
        position: the position to replay to.
        step: the real train function.
        epoch_iterator: the object that Keras' loop of training iterates over.

    Attributes:
        iterator: the iterator that Keras has drawn from last, or None.
    """

    def __init__(
        self, position: FitPosition, step: Callable[[Any], Any], epoch_iterator: Any
    ) -> None:
        self._position = position
        self._step = step
        self._epoch_iterator = epoch_iterator
        self._steps_per_epoch: int | None = getattr(epoch_iterator, "steps_per_epoch", None)
        self._epoch = position.first_epoch
        self._calls = 0
        self._stepped = False
        self.iterator: Any = None
        self._made = 0  # batches that the run has drawn from this iterator
        self._drawn = 0  # batches of these that were drawn again
        self._cached = False
        self._repeats = False
        self._progress = DrawProgress(position.per_call * position.train_calls, time.monotonic)

    def epoch_began(self, epoch: int) -> None:
        """Notes that Keras has begun an epoch, and gives it the length that it had."""
        self._epoch, self._calls = epoch, 0
        steps = self._steps_per_epoch
        if steps is not None and epoch < self._position.epoch:
            # Another `steps_per_epoch` counts from the present epoch on. Where the data has ended
            # an epoch, one more call brought nothing.
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
        """Whether the present call is the first one that no earlier attempt has made."""
        return self._has_made_all and not self._position.evaluating

    def arrives_at_evaluation(self) -> bool:
        """Whether the run was stopped in the evaluation that follows the last call."""
        return self._has_made_all and self._position.evaluating

    def missing(self, iterator: Any) -> int:
        """Return how many batches of an iterator the run has drawn and this replay has skipped."""
        return self._made - self._drawn if iterator is self.iterator else 0

    def replay_call(self, iterator: Any) -> None:
        """Replays a call of the train function, and skips the calls that need not be repeated.

        Args:
            iterator: the argument of the call.

        Raises:
            StopIteration: If the data had ended there.
        """
        if iterator is not self.iterator:
            self.iterator, self._made, self._drawn = iterator, 0, 0
        if self._calls >= self._pass.calls:
            if self._draws_all:
                # Finding the end is a draw as well, which a generator notices.
                draw_batches(iterator, 1)
            raise StopIteration
        self._draw_for_call(iterator)
        left = 0 if self._draws_all else self._pass.calls - self._calls - 1
        calls = 1 + keras_fit.skip_calls(self._epoch_iterator, left)
        self._made += calls * self._position.per_call
        self._calls += calls
        self._progress.add(calls * self._position.per_call)

    def _draw_for_call(self, iterator: Any) -> None:
        per_call = self._position.per_call
        if not self._stepped:
            self._stepped = True
            if self._position.drawn_again is None:
                # An older version has saved a state that TensorFlow does not restore, or the
                # pipeline has changed.
                self._position.drawn_again = reason_not_restorable(iterator)
            if self._position.drawn_again is None:
                self._cached = uses_cache(iterator)
                self._repeats = repeats_orders_in_pass(iterator, endless=False)
            with suppressed_summaries():
                self._step(iterator)
            self._drawn += per_call
        elif self._draws_all:
            self._drawn += draw_batches(iterator, per_call)
        elif self._drawn == 0:
            # A shuffle takes its order for this pass from its counter at the first draw.
            self._drawn += draw_batches(iterator, 1)

    @property
    def _draws_all(self) -> bool:
        """Whether every batch has to be drawn again.

        That is so if no state was saved, if the first epoch fills a cache, and if an epoch draws
        several orders. The last epoch ends at the saved state, if there is one, and needs no more
        than its first batch.
        """
        past = self._epoch < self._position.epoch or self._position.evaluating
        return (
            self._position.drawn_again is not None
            or (self._cached and self._epoch == self._position.first_epoch)
            or (self._repeats and past)
        )
