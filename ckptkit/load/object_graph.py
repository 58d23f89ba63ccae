"""Matches the object graph of a `tf.train.Checkpoint` with the objects of a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ckptkit.bundle import tensor_bundle
from ckptkit.compat import tf_checkpoint
from ckptkit.compat.tf_checkpoint import GraphNode
from ckptkit.errors import CheckpointNotFoundError, ConfigError

_NOT_OF_THE_MODEL = frozenset(
    {
        "optimizer",
        "keras_api",
        "metrics",
        "loss_tracker",
        "compile_metrics",
        "signatures",
        "save_counter",
        "seed_generator",
        "seed_generators",
        "compiled_trainable_state",
        "all_variables",
    }
)
"""Attributes that contain state other than weights, or the same weights a second time."""

_LISTS = ("variables", "weights", "_all_variables")
"""Attributes in which exporters store a model's variables in Keras' own order."""


def read_graph(reader: Any, prefix: Path) -> list[GraphNode]:
    """Return the objects of an open checkpoint; the first one is its root.

    Args:
        reader: the result of `tensor_bundle.open_reader`.
        prefix: the prefix of its checkpoint.

    Raises:
        CorruptCheckpointError: If the object graph cannot be read.
        StorageError: If the system refuses to read.
    """
    serialized = tensor_bundle.read_value(reader, prefix, tf_checkpoint.OBJECT_GRAPH)
    with tensor_bundle.judging_tensorflow(prefix):
        return tf_checkpoint.object_graph(bytes(serialized))


@dataclass(frozen=True)
class Nodes:
    """The part of a checkpoint that belongs to one model.

    Args:
        saved: the saved variables, each with an address.
        live: the model's variables, each with an address.
        ordered: those of `live` that were found by their place in a list, by `id`.
    """

    saved: list[tuple[GraphNode, str]]
    live: list[tuple[Any, str]]
    ordered: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Graph:
    """The object graph of a checkpoint.

    Args:
        nodes: all objects; the first is the root.
        where: name of the checkpoint, for messages.
    """

    nodes: list[GraphNode]
    where: str

    @classmethod
    def of(cls, nodes: list[GraphNode], where: str) -> Graph:
        """Return the graph, after checking that every edge leads to a node.

        Raises:
            CheckpointNotFoundError: If the graph is empty or incomplete.
        """
        whole = all(0 <= child < len(nodes) for node in nodes for child in node.children.values())
        if not nodes or not whole:
            raise CheckpointNotFoundError(
                f"{where} has no complete object graph. Expected a checkpoint of "
                f"tf.train.Checkpoint."
            )
        return cls(nodes, where)

    def weights_of(self, model: Any, name: str | None) -> Nodes:
        """Return the model's part of the checkpoint: the objects below the one that matches best.

        Raises:
            CheckpointNotFoundError: If no object has that name.
            ConfigError: If several objects match the model equally well.
        """
        start = 0 if name is None else self._named(name)
        weights = {id(variable) for variable in model.weights}
        best: list[tuple[int, dict[int, Any]]] = []
        for root in self._below(start, everything=name is None):
            pairs = {
                node: variable
                for node, variable in self._beside(root, model)
                if id(variable) in weights
            }
            if pairs and (not best or len(pairs) > len(best[0][1])):
                best = [(root, pairs)]
            elif pairs and len(pairs) == len(best[0][1]) and pairs.keys() != best[0][1].keys():
                best.append((root, pairs))
        if not best:
            return self._without_structure(start, model)
        if len(best) > 1:
            names = [self._path(root) for root, _ in best]
            raise ConfigError(
                f"{self.where} contains several objects that match this model: "
                f"{', '.join(map(repr, names))}. Name one, as in name={names[0]!r}."
            )
        root, pairs = best[0]
        found = set(self._variables(root))
        ordered: dict[int, Any] = {}
        if len(pairs) < len(weights):
            ordered = self._in_an_optimizer(model, pairs)
            pairs |= ordered
        return Nodes(
            [(self.nodes[node], str(node)) for node in sorted(found | set(pairs))],
            [(variable, str(node)) for node, variable in pairs.items()],
            frozenset(map(id, ordered.values())),
        )

    def _without_structure(self, start: int, model: Any) -> Nodes:
        """Return the variables of a checkpoint whose structure does not match the model.

        Exporters store a list of variables in Keras' order. Without such a list, all variables are
        returned, and only their names identify them.
        """
        for name in _LISTS:
            listed = self.nodes[start].children.get(name)
            numbers = self._list(listed) if listed is not None else []
            for live in (model.variables, model.weights):
                if numbers and len(numbers) == len(live):
                    weights = {id(variable) for variable in model.weights}
                    both = [
                        (self.nodes[node], variable, str(number))
                        for number, (node, variable) in enumerate(zip(numbers, live, strict=True))
                        if id(variable) in weights
                    ]
                    return Nodes(
                        [(node, address) for node, _, address in both],
                        [(variable, address) for _, variable, address in both],
                        frozenset(weights),
                    )
        found = set(self._variables(start)).union(*self._trained())
        return Nodes([(self.nodes[node], str(node)) for node in sorted(found)], [])

    def _list(self, number: int) -> list[int]:
        children = self.nodes[number].children
        if not children or not all(name.isdecimal() for name in children):
            return []
        ordered = [children[name] for name in sorted(children, key=int)]
        return ordered if all(self.nodes[child].key for child in ordered) else []

    def _beside(self, root: int, model: Any) -> Iterator[tuple[int, Any]]:
        """Yield the variables that have the same path in the checkpoint and in the model."""
        seen: set[int] = set()
        to_visit: deque[tuple[int, Any]] = deque([(root, model)])
        alive = []
        while to_visit:
            node, thing = to_visit.popleft()
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            alive.append(thing)
            if isinstance(thing, keras.Variable | tf.Variable):
                if self.nodes[node].key:
                    yield node, thing
                continue
            known = _children(thing)
            for name, child in self.nodes[node].children.items():
                if name.strip("_") in known:
                    to_visit.append((child, known[name.strip("_")]))

    def _below(self, start: int, *, everything: bool) -> Iterator[int]:
        """Yield the objects below one object, nearest first."""
        seen, to_visit = {start}, deque([start])
        while to_visit:
            node = to_visit.popleft()
            if not self.nodes[node].key:
                yield node
            for name, child in self.nodes[node].children.items() if everything else ():
                if child not in seen and name.strip("_") not in _NOT_OF_THE_MODEL:
                    seen.add(child)
                    to_visit.append(child)

    def _variables(self, start: int) -> Iterator[int]:
        seen, to_visit = {start}, [start]
        while to_visit:
            node = to_visit.pop()
            if self.nodes[node].key:
                yield node
            for name, child in self.nodes[node].children.items():
                if child not in seen and name.strip("_") not in _NOT_OF_THE_MODEL:
                    seen.add(child)
                    to_visit.append(child)

    def _in_an_optimizer(self, model: Any, pairs: dict[int, Any]) -> dict[int, Any]:
        """Return weights of layers in plain lists, found through the optimizer.

        TensorFlow does not follow plain lists. It saves these weights only because the optimizer
        lists them, in the order of the trainable variables.
        """
        trainable = list(model.trainable_variables)
        for listed in self._trained():
            beside = dict(zip(listed, trainable, strict=False))
            agree = all(
                variable is beside[node] for node, variable in pairs.items() if node in beside
            )
            if len(listed) == len(trainable) and agree and any(node in pairs for node in listed):
                return {node: variable for node, variable in beside.items() if node not in pairs}
        return {}

    def _trained(self) -> list[list[int]]:
        """Return the variables that each optimizer trains, in order."""
        return [
            self._list(node.children["_trainable_variables"])
            for node in self.nodes
            if "_trainable_variables" in node.children
        ]

    def _named(self, name: str) -> int:
        node = 0
        for part in name.replace("/", ".").split("."):
            if part not in self.nodes[node].children:
                known = ", ".join(repr(each) for each in sorted(self.nodes[node].children))
                raise CheckpointNotFoundError(
                    f"{self.where} contains no object {name!r}. Expected one of: {known or 'none'}."
                )
            node = self.nodes[node].children[part]
        return node

    def _path(self, wanted: int) -> str:
        paths = {0: ""}
        to_visit = deque([0])
        while to_visit:
            node = to_visit.popleft()
            for name, child in self.nodes[node].children.items():
                if child not in paths:
                    paths[child] = ".".join(filter(None, (paths[node], name)))
                    to_visit.append(child)
        return paths.get(wanted, "")


def _children(thing: Any) -> dict[str, Any]:
    """Return the children that TensorFlow follows, and a model's layers as Keras 2 named them."""
    found: dict[str, Any] = {}
    try:
        found = {
            name.strip("_"): child for name, child in tf.train.TrackableView.children(thing).items()
        }
    except (AttributeError, TypeError):  # not a trackable: TensorFlow saves nothing of it
        return found
    if isinstance(thing, keras.Model):
        found |= {
            f"layer_with_weights-{number}": layer
            for number, layer in enumerate(_with_weights(thing.layers))
        }
    return found


def _with_weights(layers: Sequence[Any]) -> list[Any]:
    return [layer for layer in layers if layer.weights]
