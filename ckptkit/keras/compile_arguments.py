"""The hyperparameters passed to `compile` and `fit`, except those of the optimizer."""

from __future__ import annotations

from typing import Any

import keras

from ckptkit.compat import keras_models
from ckptkit.tracking.hyperparameters import as_json


def configured_in_code(model: Any, batch_size: int | None) -> dict[str, object]:
    """Return the loss and the batch size, as far as they can be written as JSON.

    Args:
        model: a compiled model.
        batch_size: the number of samples in a batch, or None if unknown.
    """
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
    return as_json({name: value for name, value in values.items() if value is not None})
