"""Watches one turn of a loop: whether it has trained already if it is left early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from ckptkit.compat.tf_tensors import tensor_count
from ckptkit.position import RunPosition
from ckptkit.tracking.hyperparameters import iterations_of
from ckptkit.tracking.tracker import optimizers_in


@dataclass
class LoopTurn:
    """One turn of a loop.

    Args:
        position: the position at the end of the turn.
        counted: whether the position and the data include the turn.
        before: the iteration counters of the optimizers at its beginning. They stay tensors,
            because a conversion waits for the device.
        tensors: how many tensors there had been when it began.
        was_touched: see `is_touched`; kept when the turn is left, because the program continues.
    """

    position: RunPosition
    counted: bool = False
    before: list[tuple[Any, tf.Tensor]] = field(default_factory=list)
    tensors: int = 0
    was_touched: bool | None = None

    def has_trained(self) -> bool:
        """Return whether an optimizer has made an update since the turn began."""
        return any(
            iterations_of(optimizer) != int(iterations) for optimizer, iterations in self.before
        )

    def is_touched(self) -> bool:
        """Return whether the state may have changed since the turn began.

        It has not if no optimizer has made an iteration, and TensorFlow has made no tensor: then no
        batch was drawn, and nothing was computed. If other tensors were made, nobody knows.
        """
        if self.was_touched is None:
            # First: the comparison of the iterations makes tensors itself.
            return tensor_count() != self.tensors + 1 or self.has_trained()
        return self.was_touched

    def leave(self) -> None:
        """Note that the turn is left in its middle; what follows is no part of it."""
        self.was_touched = self.is_touched()

    def updates(self) -> int:
        """Return the largest number of updates that one optimizer made since the turn began."""
        return max(
            (iterations_of(optimizer) - int(before) for optimizer, before in self.before),
            default=0,
        )


def optimizers_of(state: Mapping[str, Any]) -> list[Any]:
    """Return the optimizers of a state that count their iterations."""
    return [optimizer for value in state.values() for _, optimizer in optimizers_in(value)]


def begin(position: RunPosition, optimizers: list[Any]) -> LoopTurn:
    """Return a turn that begins now."""
    before = [(optimizer, _iterations_as_tensor(optimizer)) for optimizer in optimizers]
    return LoopTurn(position, before=before, tensors=tensor_count())


def _iterations_as_tensor(optimizer: Any) -> tf.Tensor:
    # `value`: see `iterations_of`. An optimizer around another may return a plain tensor.
    iterations = optimizer.iterations
    variable = getattr(iterations, "value", iterations)
    # `values`: a variable of a strategy, whose handle depends on the replica.
    if hasattr(variable, "values") or not isinstance(variable, tf.Variable):
        return tf.identity(variable)
    # The bare operation: this runs in each turn, and `tf.identity` takes four times as long.
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
