"""Checks that a `fit` continues its run: the same model, `compile` and `fit` arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from ckptkit.compat import keras_models
from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.restore.saved_values import has_moved
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import Manifest
from ckptkit.session.session import Session
from ckptkit.tracking.hyperparameters import as_json, iterations_of


def check_same_training(checkpoint: Checkpoint, state: Mapping[str, Any], model: Any) -> None:
    """Check that the model trains the same weights with the same class of optimizer.

    Args:
        checkpoint: the checkpoint to resume from.
        state: the state of the run by name, with the model in it.
        model: the model that is to be trained.

    Raises:
        ConfigError: If it does not, because a second training phase needs its own run.
    """
    name = next(name for name, value in state.items() if value is model)
    advice = (
        "A second training phase needs its own run: name another directory for it, in which it "
        f"begins with the weights of this run by init_from={str(checkpoint.path.parent.parent)!r}."
    )
    then, now = _optimizer_then(checkpoint.manifest, name), _optimizer_now(model)
    if then and now and then != now:
        raise ConfigError(
            f"The run was trained with the optimizer {then}; the model now has {now}. Nothing was "
            f"overwritten. {advice}"
        )
    changed = _changed_trainable(checkpoint.manifest, name, model)
    # What training itself has changed, as a callback that unfreezes layers, is restored.
    if changed and not has_moved(checkpoint, keras_models.TRAINABLE):
        raise ConfigError(
            "The trained weights differ from the run's checkpoint: trainable has changed for "
            f"{len(changed)} of {len(model.weights)}, "
            f"{', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}. Nothing was "
            f"overwritten. {advice}"
        )


def _optimizer_then(manifest: Manifest, name: str) -> str | None:
    return next(
        (entry.classes.get("optimizer") for entry in manifest.states if entry.name == name), None
    )


def _optimizer_now(model: Any) -> str | None:
    optimizer = getattr(model, "optimizer", None)
    return type(optimizer).__name__ if optimizer is not None else None


def _changed_trainable(manifest: Manifest, name: str, model: Any) -> list[str]:
    """Return the paths of weights whose `trainable` differs from the checkpoint."""
    saved = [
        entry
        for entry in manifest.tensors
        if entry.role == "weights" and entry.key.split("/")[0] == name and not entry.replica
    ]
    live = list(model.weights)
    if len(saved) != len(live):
        # If the model is different or not built yet, the comparison of the state reports that.
        return []
    return [
        entry.path
        for entry, variable in zip(saved, live, strict=True)
        if entry.trainable is not None and entry.trainable != bool(variable.trainable)
    ]


def warn_other_counts(
    session: Session, checkpoint: Checkpoint, model: Any, initial_epoch: int
) -> None:
    """Warn if the program's epochs or steps differ from the checkpoint's.

    Args:
        session: the open session with the run.
        checkpoint: the checkpoint to resume from; its numbers count.
        model: the model to train.
        initial_epoch: the argument of `fit`.
    """
    epoch = checkpoint.manifest.epoch
    if initial_epoch not in (0, epoch):
        logger.warning(
            "initial_epoch=%d was given to fit, but the checkpoint is at epoch %d: the "
            "checkpoint's epoch counts",
            initial_epoch,
            epoch,
        )
    optimizer = getattr(model, "optimizer", None)
    iterations = (
        iterations_of(optimizer) if isinstance(optimizer, keras.optimizers.Optimizer) else 0
    )
    # No warning for a repeated notebook cell, whose iterations come from this process.
    if iterations and not session.tracked.saw_iterations(iterations):
        logger.warning(
            "the optimizer has made %d iterations before this fit, but the checkpoint is at step "
            "%d: the checkpoint's values replace those of the model",
            iterations,
            checkpoint.step,
        )


def configured_in_code(model: Any, batch_size: int | None) -> dict[str, object]:
    """Return the loss and the batch size, as far as they can be written as JSON.

    Args:
        model: a compiled model.
        batch_size: the number of samples in a batch, or None if unknown.
    """
    loss = getattr(model, "loss", None)
    if callable(loss):
        loss = (
            _described(loss)
            if isinstance(loss, keras.losses.Loss)
            else getattr(loss, "__name__", None)
        )
    values = {"loss": loss, "batch_size": batch_size}
    return as_json({name: value for name, value in values.items() if value is not None})


def _described(loss: keras.losses.Loss) -> dict[str, object] | None:
    """Return the settings of a loss; None if they cannot be read, which is logged."""
    try:
        return {
            "loss": keras.losses.serialize(loss),
            "arguments": keras_models.arguments_of_loss(loss),
        }
    # Any error: get_config may be the user's, and training does not need it.
    except Exception as error:
        logger.warning(
            "the settings of the loss %s are not recorded, so a change of them is not noticed: its "
            "get_config has raised %s: %s",
            type(loss).__name__,
            type(error).__name__,
            error,
        )
        return None
