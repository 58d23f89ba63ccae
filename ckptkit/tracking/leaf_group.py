"""Groups of leaves that are captured together, almost without delay for training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeGuard

import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.tracking.leaves import Leaf, PythonLeaf, Tensors, VariableLeaf
from ckptkit.tracking.replica_reader import PlacedTensors, ReplicaReader
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf


class LeafGroup:
    """A group of leaves that are captured together.

    Variables in the host's memory are read by few operations, which are prepared once. They copy
    on write: the value shares the variable's buffer, and the next update takes a new one. After a
    sparse update, as in an `Embedding`, they copy on read. A value on an accelerator is always
    copied.

    Args:
        leaves: the leaves, in order.
    """

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        self.leaves = tuple(leaves)
        # Hundreds of variables with each operation, because ten thousand separate reads would have
        # ten thousand times the overhead while training waits.
        single: list[tf.Variable] = []
        replicated: list[ReplicatedLeaf] = []
        self._others: list[Leaf] = []
        for leaf in self.leaves:
            if _is_single(leaf):
                single.append(leaf.variable)
            elif _is_replicated(leaf):
                replicated.append(leaf)
            else:
                self._others.append(leaf)
        self._read = tf_checkpoint.variables_reader(single)
        self._replicas = ReplicaReader(replicated) if replicated else None

    def prepare(self) -> None:
        """Let TensorFlow prepare the operations that read the variables, so that no save waits."""
        self._read()

    def capture(self) -> CapturedLeaves:
        """Return the current values of all leaves."""
        return CapturedLeaves(
            self.leaves,
            self._read(),
            [
                leaf.capture_for_later()
                if isinstance(leaf, PythonLeaf) and leaf.returns_copies
                else leaf.capture()
                for leaf in self._others
            ],
            [] if self._replicas is None else self._replicas.read(),
            self._replicas,
        )


@dataclass(frozen=True)
class CapturedLeaves:
    """The values of all leaves of a group at one moment.

    Args:
        leaves: the leaves of the group.
        in_host_memory: the values of single variables in the host's memory.
        others: the values of the other leaves, or functions that encode them.
        replicated: the values of variables with several replicas.
        replicas: puts these into order; None if there are none.
    """

    leaves: tuple[Leaf, ...]
    in_host_memory: list[tf.Tensor]
    others: list[Tensors | Callable[[], Tensors]]
    replicated: list[PlacedTensors] = field(default_factory=list)
    replicas: ReplicaReader | None = None

    @functools.cached_property
    def values(self) -> list[Tensors]:
        """Return the values of each leaf, in the order of the leaves."""
        # Put into order here, on the writer's thread, and not in `capture`, while training waits.
        single = iter(self.in_host_memory)
        others = iter(each() if callable(each) else each for each in self.others)
        replicated = iter(self.replicas.in_order(self.replicated) if self.replicas else ())
        return [
            {"": next(single)}
            if _is_single(leaf)
            else next(replicated if _is_replicated(leaf) else others)
            for leaf in self.leaves
        ]


def _is_single(leaf: Leaf) -> TypeGuard[VariableLeaf]:
    return (
        isinstance(leaf, VariableLeaf)
        and not isinstance(leaf, ReplicatedLeaf)
        and leaf.is_in_host_memory
    )


def _is_replicated(leaf: Leaf) -> TypeGuard[ReplicatedLeaf]:
    return isinstance(leaf, ReplicatedLeaf)
