"""What the code has said to `compile` and `fit`, and what it says against the checkpoint."""

from __future__ import annotations

from typing import Any

import keras

from ckptkit.compat import keras_models
from ckptkit.log import logger
from ckptkit.run.catalog import Checkpoint
from ckptkit.session.session import Session
from ckptkit.tracking.hyperparameters import is_json


def configured(model: Any, batch_size: int | None) -> dict[str, object]:
    """What `compile` and `fit` were given, beside the optimizer."""
    loss = getattr(model, "loss", None)
    if callable(loss):
        if isinstance(loss, keras.losses.Loss):
            loss = {
                "loss": keras.losses.serialize(loss),
                "arguments": keras_models.arguments_of_loss(loss),
            }
        else:
            loss = getattr(loss, "__name__", None)
    values = {"loss": loss, "batch_size": batch_size}
    return {name: value for name, value in values.items() if value is not None and is_json(value)}


def say_other_counts(
    attempt: Session, checkpoint: Checkpoint, model: Any, initial_epoch: int
) -> None:
    """Two places to go on from must not silently become one."""
    epoch = checkpoint.manifest.epoch
    if initial_epoch not in (0, epoch):
        logger.warning(
            "initial_epoch=%d was given to fit, and the checkpoint is at epoch %d: the checkpoint "
            "counts",
            initial_epoch,
            epoch,
        )
    optimizer = getattr(model, "optimizer", None)
    iterations = (
        int(optimizer.iterations) if isinstance(optimizer, keras.optimizers.Optimizer) else 0
    )
    if iterations and not attempt.saw_iterations(iterations):
        logger.warning(
            "the optimizer has done %d iterations before this fit, and the checkpoint is at step "
            "%d: the checkpoint counts, and "
            "the model's values are overwritten by its",
            iterations,
            checkpoint.step,
        )
