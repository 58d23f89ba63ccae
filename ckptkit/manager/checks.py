"""Checks of arguments, and that a method is not called inside a `tf.function`."""

from __future__ import annotations

import tensorflow as tf

from ckptkit.errors import ConfigError
from ckptkit.position import whole_number


def check_not_in_function(method: str) -> None:
    """Check that a method of the manager is not called inside a `tf.function`.

    Raises:
        ConfigError: If it is.
    """
    if tf.inside_function():
        raise ConfigError(
            f"manager.{method} works on files and on Python's side; it was called inside a "
            "tf.function, and would run once, at tracing. Call it between two steps, outside of "
            "the tf.function."
        )


def check_step(step: object) -> int:
    """Check a step that the user passed, and return it as a whole number.

    Raises:
        ConfigError: If it is not a whole number of at least 0.
    """
    number = whole_number(step)
    if number is None or number < 0:
        raise ConfigError(
            "step counts the training batches done since the run began: a whole number of 0 or "
            "more. "
            f"Received: step={step!r}."
        )
    return number


def check_total(name: str, total: object) -> int:
    """Check the total that the user passed to a loop, and return it as a whole number.

    Args:
        name: the name of the loop.
        total: the argument.

    Raises:
        ConfigError: If it is not a whole number of at least 0.
    """
    number = whole_number(total)
    if number is None or number < 0:
        raise ConfigError(
            f"manager.{name}(total): total counts all {name} since the run began, a whole number "
            "of 0 or more. "
            f"Received: {total!r}."
        )
    return number
