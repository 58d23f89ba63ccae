"""Checks the first step of `fit` for random operations whose state cannot be saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ckptkit.compat import tf_random
from ckptkit.session.exactness import Exactness


def run_first_step(step: Callable[[Any], Any], iterator: Any, *, eager: bool) -> tuple[Any, Report]:
    """Run the first step of a train function, and search it for random operations.

    Args:
        step: the train function.
        iterator: its argument.
        eager: whether it runs without being traced.

    Returns:
        The result of the step; and a function that reports the operations, if there are any.
    """
    if not eager:
        logs = step(iterator)
        traced, ran = set(tf_random.stateful_random_ops(step)), set[str]()
    else:
        with tf_random.EagerOperations() as operations:
            logs = step(iterator)
        traced, ran = operations.traced, operations.eager

    def report(exactness: Exactness) -> None:
        exactness.drawn(_WHO, traced, traced=True)
        exactness.drawn(_WHO, ran, traced=False)

    return logs, report


Report = Callable[[Exactness], None]
_WHO = "the model or its train step"
