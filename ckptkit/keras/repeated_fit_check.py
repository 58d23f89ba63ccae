"""Checks that a `fit` has something to train, if this process has finished the run already."""

from __future__ import annotations

from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.keras.early_stop_record import EarlyStop
from ckptkit.layout import TRIAL, RunLayout
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import Manifest
from ckptkit.session.run_completion import (
    is_finished_by_others,
    is_trained_to_end_here,
    note_finished,
)


def note_finished_model(layout: RunLayout, model: Any) -> None:
    """Remember that this process has finished the run with `model`."""
    note_finished(layout, {"model": model})


def check_not_finished_by_another(
    layout: RunLayout, checkpoint: Checkpoint, model: Any, epochs: int
) -> None:
    """Refuse a `fit` with a new model if this process has finished the run with another one.

    A larger `epochs` is allowed: a notebook may build its model again and continue the run. A loop
    over folds builds a new model for the same `epochs`, so it is refused.

    Args:
        layout: the layout of the run.
        checkpoint: the newest checkpoint.
        model: the model to train.
        epochs: the number of epochs of the whole run that this `fit` requests.

    Raises:
        ConfigError: If another model has finished the run in this process, and `epochs` requests
            nothing more. Causes are a loop over folds, a tuner, or a notebook cell that ran again.
    """
    asks_for_more = epochs > max(checkpoint.manifest.epoch, checkpoint.manifest.total or 0)
    if not asks_for_more and is_finished_by_others(layout, {"model": model}):
        raise ConfigError(
            f"This process has already finished the run in {layout.root} with another model "
            "object, and a run is one training of one model. Give each training its own directory, "
            f"such as f'{layout.root}-{{fold}}', or '{layout.root}-{TRIAL}' in a callback that is "
            "copied, as by a tuner; or pass larger epochs (a total) to continue this one, or "
            "fresh='a label' to set it aside."
        )


def check_not_just_finished(layout: RunLayout, checkpoint: Checkpoint, epochs: int) -> None:
    """Check that no `fit` of this process has finished the run, so that this one can train.

    The first `fit` of a new process gets the weights of a finished run. But a program that calls
    `fit` again, for example in a loop over epochs, expects it to train.

    Args:
        layout: the layout of the run.
        checkpoint: the newest checkpoint.
        epochs: the number of epochs of the whole run that this `fit` requests.

    Raises:
        ConfigError: If a `fit` of this process has finished the run, or found it finished.
    """
    if is_trained_to_end_here(layout, checkpoint.step, f"epochs={epochs}"):
        done, further = finished_in_words(checkpoint.manifest, epochs)
        loop = (
            ""
            if checkpoint.manifest.early_stop
            else " Expected one fit(..., epochs=n); or in a loop over epochs, fit(..., "
            "epochs=epoch + 1) with the same callbacks."
        )
        raise ConfigError(
            f"This process has just finished the run in {layout.root}: {done}, and epochs={epochs} "
            f"would train nothing. To continue training, {further}.{loop} For another run, pass "
            "fresh='a label' or name another directory, in which "
            f"init_from={str(layout.root)!r} begins with these weights."
        )


def finished_in_words(manifest: Manifest, epochs: int) -> tuple[str, str]:
    """Return two phrases for a message: how the run ended, and what trains it further.

    Args:
        manifest: the manifest of its newest checkpoint.
        epochs: epochs of the whole run, as the code asks for them.
    """
    larger, done = "pass larger epochs (a total, as in Keras)", manifest.epoch
    early = EarlyStop.from_record(manifest.early_stop)
    if early is None or done >= epochs:
        return f"{done} epochs are done", larger
    total = manifest.total or epochs
    return (
        f"{early.who} stopped it early, with {done} of {total} epochs done",
        f"{early.remedy}; or {larger}, more than {total}",
    )
