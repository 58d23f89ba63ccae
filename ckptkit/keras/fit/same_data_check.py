"""Records a description of the data of a `fit`, and compares it at a resume."""

from __future__ import annotations

from typing import Any

from ckptkit.data.iterator_state import (
    batches_of,
    describe,
    reason_not_repeatable,
    reason_not_savable,
)
from ckptkit.data.shared_generators import reason_workers_share
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.log import logger


def note_data(fit: FitContext, iterator: Any) -> None:
    """Record which data a new run reads, and whether the position in it can be saved.

    Args:
        fit: the new run.
        iterator: the iterator from which the first batch comes.
    """
    position = fit.state.position
    position.drawn_again = reason_not_savable(iterator) or position.drawn_again
    position.pipeline = describe(iterator)
    position.batches = batches_of(iterator, fit.steps_per_epoch)


def start_training(fit: FitContext) -> None:
    """Start training in the session, and report data that a resume cannot repeat exactly.

    Args:
        fit: the context of this `fit`, with the iterator from which the next batch comes.

    Raises:
        ConfigError: If the data cannot be read a second time, and `exact="require"` was given.
    """
    fit.session.loop.training_starts()
    unrepeatable = reason_not_repeatable(fit.state.iterator)
    for reason in (unrepeatable, *map(reason_workers_share, fit.call.sources)):
        if reason is not None:
            fit.session.inexact(reason)
    drawn_again = fit.state.position.drawn_again
    if drawn_again is not None:
        logger.info(
            "the position in this data cannot be saved (%s): after an interruption, the finished "
            "batches are read again without training, which takes time. A tf.data pipeline "
            "without generators and random map functions resumes at once, and so does "
            "ckptkit.data.shuffled",
            drawn_again,
        )


def data_changes(
    then: FitPosition, pipeline: list[str], batches: int | None, evaluations: int
) -> list[str]:
    """Return sentences about differences between the current data and the run's data.

    Args:
        then: the position of the checkpoint, with a description of its data.
        pipeline: the current stages of the data pipeline.
        batches: the current number of batches in an epoch, or None if unknown.
        evaluations: the number of evaluations before this position with the current arguments.

    Returns:
        A sentence for each difference; empty if there is none.
    """
    found = []
    if pipeline != then.pipeline:
        found.append(f"the data's pipeline has changed, from {then.pipeline} to {pipeline}")
    # Checkpoints of the first versions do not contain the number of batches.
    if then.batches is not None and batches != then.batches:
        found.append(
            f"an epoch had {then.batches} batches and has "
            f"{'an unknown number' if batches is None else batches} now"
        )
    if evaluations != len(then.evaluations):
        found.append(
            f"{len(then.evaluations)} evaluations were made before this position, and "
            f"{evaluations} now: validation_data or validation_freq have changed"
        )
    return found


def strategy_change(then: bool | None, now: bool) -> str | None:
    """Return a sentence if the model was made with a strategy then and without one now, or reverse.

    Args:
        then: whether Keras read a batch before that `fit` began; None if that is not known.
        now: whether Keras reads a batch before this `fit` begins.
    """
    if then is None or then == now:
        return None
    words = ("without a strategy of tf.distribute", "under one")
    return (
        f"the model was made {words[then]}, and is now made {words[now]}. Under a strategy Keras "
        "reads a batch before it begins, which moves shuffles: rows may be missed or repeated in "
        "this epoch, and later ones have another order"
    )
