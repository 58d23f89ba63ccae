"""Advances the shuffle counters of data, for a finished `fit` that a new process skips.

A new process may skip a `fit` that has already finished. The skipped `fit` would have advanced the
dataset's shuffle counter, from which each order is derived. This module advances it before the next
`fit`, by reading one batch for each skipped pass. A program without another `fit` reads nothing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from ckptkit.compat import keras_fit, tf_data
from ckptkit.data.draw_meter import DrawMeter
from ckptkit.data.drawing_state import DrawingState
from ckptkit.data.iterator_state import draw_batches
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.keras.fit.fit_replay import EvaluationReplay, TrainReplay
from ckptkit.log import logger
from ckptkit.policies.anchor_policies import NoAnchors
from ckptkit.tracking import shuffle_orders
from ckptkit.tracking.python_state import program_random, set_program_random

_ATTRIBUTE = "_ckptkit_skipped_passes"
"""The attribute in which a stage keeps skipped passes.

A registry would keep all data of a process alive."""

_order = itertools.count()


@dataclass
class SkippedPasses:
    """The passes over data that a skipped `fit` would have made.

    Args:
        call: what the `fit` was called with.
        position: where it ended.
    """

    call: keras_fit.FitCall
    position: FitPosition
    number: int = field(default_factory=lambda: next(_order))

    def make(self) -> None:
        """Make the passes; Python's and NumPy's random states and all variables do not change."""
        random, drawing = program_random(), DrawingState(self.call.sources)
        now = drawing.now()
        if self.position.random is not None:
            drawing.set_beginning(self.position.random)
        self._draw()
        drawing.note_filled()
        drawing.set_now(now, drawn_again=False)
        set_program_random(random)

    def _draw(self) -> None:
        position = self._position_to_draw()
        training = TrainReplay(
            position,
            lambda iterator: draw_batches(iterator, position.per_call),
            self.call.epoch_iterator,
            meter=DrawMeter(NoAnchors(), time.monotonic),
        )
        evaluations = EvaluationReplay(position)
        evaluation_iterator = keras_fit.new_evaluation_iterator(self.call)
        evaluation_call = replace(self.call, epoch_iterator=evaluation_iterator)
        for done, _ in enumerate(position.epochs, start=1):
            training.epoch_began(position.first_epoch + done - 1)
            keras_fit.run_pass(self.call.epoch_iterator, training.replay_call)
            # With `validation_freq`, some epochs have no evaluation.
            due = len(position.evaluations) * done // len(position.epochs)
            while evaluation_iterator is not None and evaluations.begun < due:
                if self.call.reads_before:
                    # Under a strategy, Keras reads a batch before each evaluation.
                    draw_batches(keras_fit.new_iterator(evaluation_call), 1)
                evaluation_iterator.reset()
                evaluations.evaluation_began(evaluation_iterator)
                keras_fit.run_pass(evaluation_iterator, evaluations.replay_call)
                evaluations.evaluation_ended()
        training.iterate_over_data()

    def _position_to_draw(self) -> FitPosition:
        """Return the position to replay, which reads all data only if counters need that."""

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
    """Record at the stages of the data that the passes of a finished `fit` are skipped.

    Args:
        call: what the `fit` was called with.
        position: where the run ended.
    """
    skipped = SkippedPasses(replace(call, callback_list=None), position)
    for stage in _counting_stages(call.sources):
        vars(stage).setdefault(_ATTRIBUTE, []).append(skipped)


def make_skipped_passes(sources: Iterable[Any]) -> None:
    """Repeat the passes over some data that this process has skipped.

    Args:
        sources: the data of a `fit` that begins.
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
            "an earlier fit has used this data and is finished: repeating its %d passes, so that "
            "shuffles continue with the right orders",
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
