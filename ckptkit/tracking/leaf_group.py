"""Leaves whose values are taken in one moment, at a cost that training does not notice."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.tracking.leaves import Leaf, Tensors, VariableLeaf


class LeafGroup:
    """Leaves that are captured together. What does not change from one time to the next is prepared
    once.

    Variables in the host's memory are read by one operation. They copy on write: what is read
    shares its buffer, and the next update takes a new one. (After a sparse update, as an
    `Embedding` makes them, they copy on reading.) From an accelerator a value is copied.

    Args:
        leaves: in their order.
    """

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        self.leaves = tuple(leaves)
        near = [leaf for leaf in self.leaves if _is_near(leaf)]
        self._read = tf_checkpoint.variables_reader(
            [leaf.variable for leaf in near if isinstance(leaf, VariableLeaf)]
        )
        self._others = [leaf for leaf in self.leaves if not _is_near(leaf)]

    def capture(self) -> Captured:
        """The values of now."""
        return Captured(self.leaves, self._read(), [leaf.capture() for leaf in self._others])


@dataclass(frozen=True)
class Captured:
    """The values of a group's leaves.

    Args:
        leaves: of the group.
        near: the values of those that are variables in the host's memory.
        others: those of the rest.
    """

    leaves: tuple[Leaf, ...]
    near: list[tf.Tensor]
    others: list[Tensors]

    @cached_property
    def values(self) -> list[Tensors]:
        """The values of each leaf. Put together when it is first asked for, which is not where
        training waits.
        """
        near, others = iter(self.near), iter(self.others)
        return [{"": next(near)} if _is_near(leaf) else next(others) for leaf in self.leaves]


def _is_near(leaf: Leaf) -> bool:
    return isinstance(leaf, VariableLeaf) and leaf.is_near


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage is looked for while the block runs.

    Ten thousand new tensors let Python look at every object of the program, TensorFlow's million
    among them, for a quarter of a second; there is no garbage among them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
