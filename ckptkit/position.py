"""The position of a run: the number of finished steps and epochs."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from ckptkit.errors import ConfigError


def whole_number(value: Any) -> int | None:
    """Return a value as an `int`, or None if it is not a whole number.

    Args:
        value: an `int`, a scalar of NumPy, a tensor or a variable.

    Example:
        >>> import numpy as np
        >>> from ckptkit.position import whole_number
        >>> whole_number(np.int64(3)), whole_number(3.0), whole_number(True)
        (3, None, None)
    """
    if isinstance(value, bool):
        return None
    # Variables of TensorFlow and Keras cannot be used as an index, but their value can.
    if hasattr(value, "numpy") and not hasattr(value, "__index__"):
        value = value.numpy()
    try:
        return operator.index(value)
    # A tensor of floats has `__index__`, but its value does not.
    except (TypeError, AttributeError):
        return None


@dataclass(frozen=True, order=True)
class RunPosition:
    """The position of a run: how many batches and epochs of training are done.

    Args:
        step: the number of training batches since the run began (in a custom loop: turns of the
            loop). It differs from `optimizer.iterations`, which gradient accumulation and loss
            scaling change.
        epoch: the number of whole epochs.
        batch: the number of batches in the current epoch; 0 between two epochs.

    Raises:
        ConfigError: If a number is negative.

    Example:
        >>> from ckptkit import RunPosition
        >>> RunPosition(step=120, epoch=2, batch=20)
        RunPosition(step=120, epoch=2, batch=20)
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0

    def __post_init__(self) -> None:
        for name in ("step", "epoch", "batch"):
            number = whole_number(value := getattr(self, name))
            if number is None or number < 0:
                raise ConfigError(
                    f"RunPosition.{name} is a count, so 0 or more. Received: {value!r}."
                )
            if number is not value:
                object.__setattr__(self, name, number)

    def __str__(self) -> str:
        if self.epoch == 0 and self.batch == 0:
            return f"step {self.step}"
        return f"step {self.step} (epoch {self.epoch}, batch {self.batch})"
