"""Describes the objects of the state as TensorFlow sees them, for its own restore.

`tf.train.Checkpoint(...).restore` does not look for keys. It follows the names of attributes from
object to object, in the program and in a graph that the checkpoint contains, and reads the keys
that it finds there. So our keys need only this graph beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.compat.tf_checkpoint import GraphNode
from ckptkit.log import logger
from ckptkit.tracking.leaves import Leaf, VariableLeaf
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf
from ckptkit.tracking.variable_replicas import MEAN, SUM

SAVE_COUNTER = "save_counter"
"""The child of a `tf.train.Checkpoint` that counts its saves; each of its checkpoints has it."""


@dataclass(frozen=True)
class TrackableGraph:
    """The objects that TensorFlow follows from the state.

    Args:
        nodes: the objects; the first is the root. The key of a variable is that of its leaf.
    """

    nodes: tuple[GraphNode, ...] = (GraphNode({}, "", ""),)

    def with_keys(self, keys: Mapping[str, str]) -> tuple[GraphNode, ...]:
        """Return the objects without the variables that a checkpoint does not contain.

        An object whose values are missing must be missing itself. Otherwise TensorFlow's
        `assert_existing_objects_matched` passes, although it has restored nothing.

        Args:
            keys: by the key of a leaf, the key of its value in the checkpoint.
        """
        kept = [n for n, node in enumerate(self.nodes) if not node.key or node.key in keys]
        numbers = {old: new for new, old in enumerate(kept)}
        return tuple(
            replace(
                self.nodes[old],
                key=keys.get(self.nodes[old].key, ""),
                children={
                    name: numbers[child]
                    for name, child in self.nodes[old].children.items()
                    if child in numbers
                },
            )
            for old in kept
        )


EMPTY = TrackableGraph()


def trackable_graph(state: Mapping[str, Any], leaves: Iterable[Leaf]) -> TrackableGraph:
    """Return the objects that TensorFlow follows from a state.

    The root has the names of the state, as `tf.train.Checkpoint(**state)` has. If there is one
    entry, the root has its children too, so that `tf.train.Checkpoint(model)` and
    `tf.train.Checkpoint(model=model, optimizer=model.optimizer)` find them.

    Args:
        state: the state of the program.
        leaves: its leaves.
    """
    walk = _Walk(leaves)
    root: dict[str, Any] = dict(state)
    if len(state) == 1:
        (only,) = state.values()
        root = {**_children(only), **root}
    root.pop(SAVE_COUNTER, None)
    walk.add_root(root)
    return TrackableGraph(tuple(walk.nodes))


class _Walk:
    """Numbers the objects, each once.

    Attributes:
        nodes: the objects that were found.
    """

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        self.nodes: list[GraphNode] = []
        self._leaves = {
            id(leaf.variable): leaf
            for leaf in leaves
            if isinstance(leaf, VariableLeaf) and _is_whole(leaf)
        }
        self._numbers: dict[int, int | None] = {}
        # Keeps objects that are made on access, so that no id is used twice.
        self._alive: list[Any] = []

    def add_root(self, children: Mapping[str, Any]) -> None:
        """Add the root, and everything below it."""
        self.nodes.append(GraphNode({}, "", ""))
        waiting = [(0, children)]
        while waiting:
            number, named = waiting.pop()
            for name, child in named.items():
                known = id(child) in self._numbers
                found = self._number(child)
                if found is None:
                    continue
                self.nodes[number].children[name] = found
                if not known and not self.nodes[found].key:
                    waiting.append((found, _children(child)))

    def _number(self, value: Any) -> int | None:
        """Return the number of an object, or None if TensorFlow could not restore it."""
        if id(value) not in self._numbers:
            self._alive.append(value)
            node = self._node(value)
            self._numbers[id(value)] = None if node is None else len(self.nodes)
            if node is not None:
                self.nodes.append(node)
        return self._numbers[id(value)]

    def _node(self, value: Any) -> GraphNode | None:
        if isinstance(value, keras.Variable):
            if tf_checkpoint.uninitialized(value):
                return None
            value = value.value
        if leaf := self._leaves.get(id(value)):
            return GraphNode({}, leaf.key, leaf.path)
        if isinstance(value, Mapping | list | tuple):
            return GraphNode({}, "", "")
        # A table or an iterator has values under names that TensorFlow ties to their keys.
        if not tf_checkpoint.is_trackable(value) or tf_checkpoint.has_own_values(value):
            return None
        return GraphNode({}, "", "")


def _is_whole(leaf: VariableLeaf) -> bool:
    """Return whether the value of a leaf is the one that TensorFlow stores."""
    return not isinstance(leaf, ReplicatedLeaf) or leaf.aggregation not in (SUM, MEAN)


def _children(value: Any) -> dict[str, Any]:
    """Return the objects to which an object leads, by the names that TensorFlow uses."""
    if tf_checkpoint.is_trackable(value):
        try:
            return dict(tf.train.TrackableView.children(value))
        # A list that was changed in a way that TensorFlow cannot follow, or a class of the user's.
        # TensorFlow could not save it either, and a save must not fail for it.
        except Exception as error:
            logger.debug("TensorFlow cannot follow %s: %s", type(value).__name__, error)
            return {}
    if isinstance(value, Mapping):
        return {str(name): child for name, child in value.items()}
    if isinstance(value, list | tuple):
        return {str(number): child for number, child in enumerate(value)}
    return {}
