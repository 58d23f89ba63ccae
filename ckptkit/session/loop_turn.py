"""One turn of a loop, and whether it has already trained when it is left early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

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
    """

    position: RunPosition
    counted: bool = False
    before: list[tuple[Any, tf.Tensor]] = field(default_factory=list)

    def has_trained(self) -> bool:
        """Return whether an optimizer has made an update since the turn began."""
        return any(
            iterations_of(optimizer) != int(iterations) for optimizer, iterations in self.before
        )

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
    return LoopTurn(
        position,
        before=[(optimizer, tf.identity(optimizer.iterations.value)) for optimizer in optimizers],
    )
