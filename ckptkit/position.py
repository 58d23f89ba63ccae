"""The position of a run: how many steps and epochs it has done."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from ckptkit.errors import ConfigError


def whole_number(value: Any) -> int | None:
    """Return a whole number as an `int`, or None if it is none.

    Args:
        value: an `int`, or what programs have for it: a scalar of NumPy, a tensor, a variable.

    Example:
        >>> import numpy as np
        >>> from ckptkit.position import whole_number
        >>> whole_number(np.int64(3)), whole_number(3.0), whole_number(True)
        (3, None, None)
    """
    if isinstance(value, bool):
        return None
    # Variables of TensorFlow and Keras are no index themselves; the value that they return is.
    if hasattr(value, "numpy") and not hasattr(value, "__index__"):
        value = value.numpy()
    try:
        return operator.index(value)
    # A tensor with a fraction has a method that its value has not.
    except (TypeError, AttributeError):
        return None


@dataclass(frozen=True, order=True)
class RunPosition:
    """How much of its training a run has done, in batches and in epochs.

    Args:
        step: training batches done since the run began (in a custom loop: turns of the loop). It is
            not `optimizer.iterations`, which gradient accumulation and loss scaling change.
        epoch: whole epochs done.
        batch: batches done in the current epoch; 0 at an epoch's boundary.

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
                    f"RunPosition.{name} is a number of things done, so 0 or more. Received: "
                    f"{value!r}."
                )
            if number is not value:
                object.__setattr__(self, name, number)

    def __str__(self) -> str:
        if self.epoch == 0 and self.batch == 0:
            return f"step {self.step}"
        return f"step {self.step} (epoch {self.epoch}, batch {self.batch})"
