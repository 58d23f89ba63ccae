"""Replays evaluations of earlier attempts without computing them."""

from __future__ import annotations

from typing import Any

from ckptkit.compat import keras_fit
from ckptkit.data.iterator_state import draw_batches, repeats_orders_in_pass, uses_cache
from ckptkit.keras.fit.fit_position import FitPosition


class EvaluationReplay:
    """Replays calls of the test function up to a position.

    Args:
        position: the position to replay to.
    """

    def __init__(self, position: FitPosition) -> None:
        self._position = position
        self._index = -1
        self._calls = 0
        self._epoch_iterator: Any = None
        self._cached = False
        self._repeats = False

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
        if self._index == 0 and self._calls == 0 and not drawn_again:
            self._cached = uses_cache(iterator)
            self._repeats = repeats_orders_in_pass(iterator, endless=True)
        draws_all = drawn_again or self._repeats or (self._cached and self._index == 0)
        if self._calls >= made.calls:
            if draws_all:
                # To find the end is also a draw, which a generator notices.
                draw_batches(iterator, 1)
            raise StopIteration
        if draws_all:
            draw_batches(iterator, self._position.per_call)
        elif self._calls == 0:
            # A shuffle derives the order of this pass from its counter at the first draw.
            draw_batches(iterator, 1)
        left = 0 if draws_all else made.calls - self._calls - 1
        self._calls += 1 + keras_fit.skip_calls(self._epoch_iterator, left)
