"""Going to the place where a run was, through `fit`'s own loops.

Keras' loops run from the first epoch on, with a train and a test function that train nothing; other
callbacks do not see it. So Keras makes the same iterators in the same order, its own counts are
right, and every shuffle stands where it stood: one batch is drawn from each new iterator, which is
what advances the counters of shuffles. Calls for which nothing has to be drawn are left out of the
loops. The very first call is a real step, thrown away: it builds and traces everything exactly as
it was built, and all of it is overwritten when the place is reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ckptkit.compat import keras_fit
from ckptkit.data.iterator_state import (
    DrawProgress,
    draw_batches,
    repeats_orders_in_pass,
    uses_cache,
)
from ckptkit.keras.fit.fit_position import EpochPass, FitPosition
from ckptkit.keras.fit.suppress_summaries import unseen


class Replay:
    """The way to a place.

    Args:
        place: where to.
        step: the real train function.
        epoch_iterator: that Keras' loop of training goes over.

    Attributes:
        iterator: the one that Keras has drawn from last, or None.
    """

    def __init__(self, place: FitPosition, step: Callable[[Any], Any], epoch_iterator: Any) -> None:
        self._place = place
        self._step = step
        self._epoch_iterator = epoch_iterator
        self._epoch = place.first_epoch
        self._calls = 0
        self._evaluation = -1
        self._evaluation_calls = 0
        self._evaluation_iterator: Any = None
        self._evaluation_cached = False
        self._evaluation_repeats = False
        self._stepped = False
        self.iterator: Any = None  # the one that Keras draws from now,
        self._made = 0  # batches that the run has drawn from it,
        self._drawn = 0  # and those that were drawn again
        self._cached = False
        self._repeats = False
        self._progress = DrawProgress(
            place.per_call * (sum(each.calls for each in place.epochs) + place.now.calls),
            time.monotonic,
        )

    def epoch_began(self, epoch: int) -> None:
        """Keras has begun an epoch."""
        self._epoch, self._calls = epoch, 0

    @property
    def _pass(self) -> EpochPass:
        index = self._epoch - self._place.first_epoch
        return self._place.epochs[index] if index < len(self._place.epochs) else self._place.now

    def arrives(self) -> bool:
        """Whether the call that Keras is making is the first that has not been made."""
        return (
            self._epoch == self._place.epoch
            and self._calls == self._place.now.calls
            and not self._place.evaluating
        )

    def arrives_at_evaluation(self) -> bool:
        """Whether the call that was just made was the last one of training before the evaluation in
        which the run was stopped.
        """
        return (
            self._epoch == self._place.epoch
            and self._calls == self._place.now.calls
            and self._place.evaluating
        )

    def missing(self, iterator: Any) -> int:
        """Batches that the run has drawn from this iterator, and that were not drawn again."""
        return self._made - self._drawn if iterator is self.iterator else 0

    def call(self, iterator: Any) -> None:
        """Stands for a call of the train function that was made before, and for those after it that
        are left out.

        Raises:
            StopIteration: where the data had ended there.
        """
        if iterator is not self.iterator:
            self.iterator, self._made, self._drawn = iterator, 0, 0
        if self._calls >= self._pass.calls:
            if self._draws_all:
                draw_batches(iterator, 1)
            raise StopIteration
        if not self._stepped:
            self._stepped = True
            if self._place.drawn_again is None:
                self._cached, self._repeats = (
                    uses_cache(iterator),
                    repeats_orders_in_pass(iterator, endless=False),
                )
            with unseen():
                self._step(iterator)
            self._drawn += self._place.per_call
        elif self._draws_all:
            self._drawn += draw_batches(iterator, self._place.per_call)
        elif self._drawn == 0:
            self._drawn += draw_batches(iterator, 1)
        left = 0 if self._draws_all else self._pass.calls - self._calls - 1
        calls = 1 + keras_fit.leave_out(self._epoch_iterator, left)
        self._made += calls * self._place.per_call
        self._calls += calls
        self._progress.add(calls * self._place.per_call)

    @property
    def _draws_all(self) -> bool:
        """Whether every batch has to be drawn again: where no state was saved, where the first
        epoch fills a cache, and where an epoch draws several orders. The place itself is gone to by
        the saved state, where there is one.
        """
        past = self._epoch < self._place.epoch or self._place.evaluating
        return (
            self._place.drawn_again is not None
            or (self._cached and self._epoch == self._place.first_epoch)
            or (self._repeats and past)
        )

    def evaluation_began(self, epoch_iterator: Any) -> None:
        """Keras has begun an evaluation that was made before.

        Args:
            epoch_iterator: that its loop goes over, or None where that is not known.
        """
        self._evaluation += 1
        self._evaluation_calls, self._evaluation_iterator = 0, epoch_iterator

    @property
    def evaluation_is_new(self) -> bool:
        """Whether Keras is in an evaluation that was not made before."""
        return self._evaluation >= len(self._place.evaluations)

    def changes(self, pipeline: list[str], batches: int | None) -> list[str]:
        """In what the data is other than it was, in words, when the place is reached.

        Args:
            pipeline: what the data's pipeline is made of now.
            batches: how many an epoch has now, where that is known.
        """
        then, found = self._place, []
        if pipeline != then.pipeline:
            found.append(f"the data's pipeline has changed, from {then.pipeline} to {pipeline}")
        if then.batches is not None and batches != then.batches:
            found.append(
                f"an epoch had {then.batches} batches and has "
                f"{'a number that is not known' if batches is None else batches} now"
            )
        if self._evaluation + 1 != len(then.evaluations):
            found.append(
                f"{len(then.evaluations)} evaluations were made before this place, and now there "
                f"are {self._evaluation + 1}: "
                f"validation_data or validation_freq have changed"
            )
        return found

    def evaluation_call(self, iterator: Any) -> None:
        """Stands for a call of the test function that was made before, and for those after it that
        are left out.

        Raises:
            StopIteration: where the data had ended there.
        """
        made = self._place.evaluations[self._evaluation]
        first = self._evaluation == 0 and self._evaluation_calls == 0
        if first and self._place.evaluation_drawn_again is None:
            self._evaluation_cached, self._evaluation_repeats = (
                uses_cache(iterator),
                repeats_orders_in_pass(iterator, endless=True),
            )
        draws_all = (
            self._place.evaluation_drawn_again is not None
            or self._evaluation_repeats
            or (self._evaluation_cached and self._evaluation == 0)
        )
        if self._evaluation_calls >= made.calls:
            if draws_all:
                draw_batches(iterator, 1)
            raise StopIteration
        if draws_all:
            draw_batches(iterator, self._place.per_call)
        elif self._evaluation_calls == 0:
            draw_batches(iterator, 1)
        left = 0 if draws_all else made.calls - self._evaluation_calls - 1
        self._evaluation_calls += 1 + keras_fit.leave_out(self._evaluation_iterator, left)
