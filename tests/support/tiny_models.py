"""The smallest things that can be trained, for tests that are not about models."""

from __future__ import annotations

from typing import Any

import keras


def tiny_model(
    features: int = 2, *, optimizer: str | keras.optimizers.Optimizer = "sgd", **compiled: Any
) -> keras.Model:
    """A compiled model with one dense layer of one unit.

    Args:
        features: the width of its input.
        optimizer: passed to `compile`.
        **compiled: further arguments of `compile`; the loss is "mse" unless it is given.
    """
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(1)])
    model.compile(optimizer, **{"loss": "mse", **compiled})
    return model
