"""A small compiled model and its data, for the checks of private names."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

x, y = np.ones((8, 4), "float32"), np.zeros((8, 1), "float32")


def model(*parts: Any, **options: Any) -> keras.Model:
    """Return a compiled model for `x` and `y`.

    Args:
        *parts: its layers; by default two dense ones.
        **options: for `compile`.
    """
    made = keras.Sequential([keras.Input((4,)), *(parts or (layers.Dense(3), layers.Dense(1)))])
    made.compile(**{"optimizer": "adam", "loss": "mse", **options})
    return made
