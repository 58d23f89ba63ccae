"""Checks the first step of a train function for random operations whose state cannot be saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ckptkit.compat import tf_random


def run_checked_step(
    step: Callable[[Any], Any], iterator: Any, *, eager: bool
) -> tuple[Any, str | None]:
    """Run the first step of a train function, and check it for random operations.

    Args:
        step: the train function.
        iterator: its argument.
        eager: whether it runs without being traced.

    Returns:
        The result of the step; and the reason why the run cannot be exact, or None.
    """
    if eager:
        with tf_random.EagerOperations() as operations:
            logs = step(iterator)
        drawn = sorted(operations.random)
    else:
        logs = step(iterator)
        drawn = tf_random.stateful_random_ops(step)
    return logs, (
        f"the model or its train step draws from {', '.join(drawn)}, whose state is inside "
        "TensorFlow's kernels and cannot be saved. Use keras.random with a SeedGenerator, "
        "tf.random.Generator, or tf.random.stateless_*"
        if drawn
        else None
    )
