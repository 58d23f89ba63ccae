"""Passes over data that a finished `fit` has made, and that a new process skips with the `fit`.

A shuffle draws each order from a counter that belongs to the dataset. A second `fit` over the same
dataset continues where the first one has left the counter. So before it begins, the passes of the
skipped `fit` are made again: one batch of each, as in a resume. A program that does nothing more
with the dataset pays nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from ckptkit.compat import keras_fit, tf_data
from ckptkit.data.drawing_state import DrawingState
from ckptkit.data.iterator_state import draw_batches
from ckptkit.keras.fit.evaluation_replay import EvaluationReplay
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.keras.fit.train_replay import TrainReplay
from ckptkit.log import logger
from ckptkit.tracking import shuffle_orders
from ckptkit.tracking.python_state import python_and_numpy, set_python_and_numpy

_ATTRIBUTE = "_ckptkit_skipped_passes"
"""Where a stage keeps what was skipped. A registry would keep all data of a process alive."""

_order = itertools.count()


@dataclass
class SkippedPasses:
    """The passes over its data that a `fit` would have made.

    Args:
        call: what the `fit` was called with.
        position: where it ended.
    """

    call: keras_fit.FitCall
    position: FitPosition
    number: int = field(default_factory=lambda: next(_order))

    def make(self) -> None:
        """Makes the passes; Python's and NumPy's random states and all variables stay."""
        random, drawing = python_and_numpy(), DrawingState(self.call.sources)
        now = drawing.now()
        if self.position.random is not None:
            drawing.set_beginning(self.position.random)
        self._draw()
        drawing.set_now(now, drawn_again=False)
        set_python_and_numpy(random)

    def _draw(self) -> None:
        position = self._position_to_draw()
        training = TrainReplay(
            position,
            lambda iterator: draw_batches(iterator, position.per_call),
            self.call.epoch_iterator,
        )
        evaluations = EvaluationReplay(position)
        evaluation_iterator = keras_fit.new_evaluation_iterator(self.call)
        for done, _ in enumerate(position.epochs, start=1):
            training.epoch_began(position.first_epoch + done - 1)
            keras_fit.run_pass(self.call.epoch_iterator, training.replay_call)
            # With `validation_freq`, some epochs have no evaluation.
            due = len(position.evaluations) * done // len(position.epochs)
            while evaluation_iterator is not None and evaluations.begun < due:
                evaluation_iterator.reset()
                evaluations.evaluation_began(evaluation_iterator)
                keras_fit.run_pass(evaluation_iterator, evaluations.replay_call)

    def _position_to_draw(self) -> FitPosition:
        """Return the position, with data that is drawn in whole only if its counters need that."""

        def why(data: Any) -> str | None:
            if not isinstance(data, tf.data.Dataset):
                return None
            return shuffle_orders.order_not_replayable(tf_data.stage_of(data), counters_only=True)

        return replace(
            self.position,
            drawn_again=why(self.call.data),
            evaluation_drawn_again=why(self.call.evaluation_data),
        )


def note_skipped_passes(call: keras_fit.FitCall, position: FitPosition) -> None:
    """Notes that a finished `fit` is skipped, at the stages of its data that count passes.

    Args:
        call: what the `fit` was called with.
        position: where the run ended.
    """
    skipped = SkippedPasses(replace(call, callback_list=None), position)
    for stage in _counting_stages(call.sources):
        vars(stage).setdefault(_ATTRIBUTE, []).append(skipped)


def make_skipped_passes(sources: Iterable[Any]) -> None:
    """Makes the passes over some data that this process has skipped.

    Args:
        sources: what a `fit` that begins will draw from.
    """
    found = {
        id(each): each
        for stage in _counting_stages(sources)
        for each in vars(stage).pop(_ATTRIBUTE, [])
    }
    for skipped in sorted(found.values(), key=lambda each: each.number):
        for stage in _counting_stages(skipped.call.sources):
            others = vars(stage).get(_ATTRIBUTE, [])
            others[:] = [each for each in others if each is not skipped]
        logger.info(
            "an earlier fit has used this data and is finished: its %d passes are made again, to "
            "bring the orders of shuffles to where they were",
            len(skipped.position.epochs),
        )
        skipped.make()


def _counting_stages(sources: Iterable[Any]) -> list[Any]:
    return [
        stage
        for each in sources
        if isinstance(each, tf.data.Dataset)
        for stage in shuffle_orders.drawing_stages(each)
    ]
