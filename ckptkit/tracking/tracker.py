"""Finds the leaves in `state={...}`, and gives each value one key.

A key describes the place in the structure. So the same program gets the same keys in every process,
whatever numbers Keras adds to names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import keras
import tensorflow as tf

from ckptkit.compat import keras_models, keras_saving, object_attributes, tf_checkpoint
from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.run.manifest import StateEntry
from ckptkit.tracking.adapted_layers import adapted_leaves
from ckptkit.tracking.leaf_group import LeafGroup
from ckptkit.tracking.leaves import (
    Leaf,
    PythonLeaf,
    TrackableLeaf,
    no_garbage_collection,
    path_of,
    python_accessors,
)
from ckptkit.tracking.reachable_objects import ReachableObjects, values_among, visit
from ckptkit.tracking.replicated_leaf import variable_leaf
from ckptkit.tracking.shuffle_orders import iterators_losing_order
from ckptkit.tracking.strategy_check import check_leaves
from ckptkit.tracking.trackable_graph import EMPTY, TrackableGraph, trackable_graph

# The names of entries that ckptkit itself adds to the state; `root` belongs to TensorFlow.
RESERVED_NAMES = ("root", "fit", "loop", "process")

VARIABLES, EXTRA = "variables", "extra"
"""The roles of variables in none of Keras' lists: outside of Keras' layers, and inside them."""


@dataclass(frozen=True)
class Tracked:
    """All leaves of the state at one moment.

    Args:
        states: the descriptions of the entries of the state, in order.
        groups: the leaves, each once.
        objects: all objects that the state leads to, each once.
        graph: the objects that TensorFlow follows from the state.
    """

    states: tuple[StateEntry, ...] = ()
    groups: tuple[LeafGroup, ...] = ()
    objects: tuple[Any, ...] = ()
    graph: TrackableGraph = EMPTY

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Return all leaves, in order."""
        return tuple(leaf for group in self.groups for leaf in group.leaves)


@runtime_checkable
class OwnLeaves(Protocol):
    """The interface of ckptkit's own entries of the state, which list their leaves themselves."""

    def leaves(self, name: str) -> list[Leaf]:
        """Return the current leaves.

        Leaves with the role `data` may be missing in the program or in the checkpoint.
        """
        ...


def track(state: Mapping[str, Any]) -> Tracked:
    """Return all leaves of a state, in the order of its entries.

    Args:
        state: a state that `check_state` accepts, with built models and optimizers.
    """
    collector = _Collector()
    states = tuple(collector.add(name, value) for name, value in state.items())
    return Tracked(states, (LeafGroup(collector.leaves),), tuple(collector.objects.values()))


class Tracker:
    """Keeps the leaves of a state, and searches again only if the state's structure has changed.

    Args:
        state: see `track`.
        check: called before the leaves are listed, or None; see `RunOptions.check_objects`.

    Attributes:
        iterators_losing_order: see `shuffle_orders.iterators_losing_order`.
        users: the user's entries of the state.
        in_job: whether this process is one of several workers.
    """

    def __init__(self, state: Mapping[str, Any], check: Callable[[], None] | None = None) -> None:
        self._check = check
        self.iterators_losing_order: list[str] = []
        self.in_job = False
        self._own = {name: value for name, value in state.items() if _is_own(name, value)}
        self.users = {name: value for name, value in state.items() if name not in self._own}
        self._objects: ReachableObjects | None = None
        self._tracked = Tracked()
        self._graph = EMPTY

    @property
    def users_leaves(self) -> tuple[Leaf, ...]:
        """Return the leaves of the user's entries, from the last search."""
        return self._tracked.groups[0].leaves if self._tracked.groups else ()

    def track_now(self) -> Tracked:
        """Return all current leaves.

        Raises:
            ConfigError: If a variable was made under a strategy that is not supported, or the
                `tf.train.Checkpoint` has other objects than the state.
        """
        if self._check is not None:
            self._check()
        if self._objects is None or not self._objects.unchanged():
            self._tracked = track(self.users)
            # Not in `track`: weights may be loaded into a model of any strategy without a run.
            check_leaves(self._tracked.leaves, in_job=self.in_job)
            self._objects = ReachableObjects(self._tracked.objects)
            # Here, because training may change the objects while the writer's thread works.
            self._graph = trackable_graph(self.users, self._tracked.leaves)
            self.iterators_losing_order = iterators_losing_order(self._tracked.leaves)
        # ckptkit's own entries change with each save (passes over the data, callbacks), and are
        # few.
        own = track(self._own)
        return Tracked(
            self._tracked.states + own.states,
            self._tracked.groups + own.groups,
            self._tracked.objects,
            self._graph,
        )

    def prepare(self) -> None:
        """Find the leaves, and let TensorFlow prepare the operations that read them.

        With ten thousand variables that takes half a second, which is better spent before training
        than at the first save. What cannot be saved is an error of that save, and not of this.
        """
        with suppress(ConfigError), no_garbage_collection():
            for group in self.track_now().groups:
                group.prepare()


def _is_own(name: str, value: Any) -> bool:
    """Return whether an entry is one of ckptkit's own.

    The name must match too, because a user's object may have a method `leaves` with another
    meaning.
    """
    return name in RESERVED_NAMES and isinstance(value, OwnLeaves)


class _Collector:
    """Gathers leaves and gives each one its key; an object that was added before is skipped.

    Attributes:
        leaves: those that were found.
        objects: by identity, everything that was looked at. The values keep the objects alive, so
            that no id is used twice.
    """

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.objects: dict[int, Any] = {}
        # By id. The values keep the objects alive, so that no id is reused.
        self._seen: dict[int, Any] = {}
        # Separate, because such a layer may have variables too.
        self._adapted: dict[int, Any] = {}

    def add(self, name: str, value: Any) -> StateEntry:
        """Add all leaves of an entry of the state, and describe the entry."""
        if _is_own(name, value):
            self.leaves += value.leaves(name)
            return StateEntry(name=name, class_name=type(value).__name__)
        classes = {path: type(found).__name__ for path, found in optimizers_in(value)}
        seeds, places = _seed_paths(value), _places(value)
        # Keras' own lists come first, because their order is stable and gives each value a role.
        # All other values are found by walking through the attributes.
        for role, variables in _keras_variables(value):
            self._add_variables(name, role, variables, seeds, places)
        # Visited once, for everything that is asked of the objects: that is most of the work.
        found = list(visit(value))
        self.objects.update((id(each), each) for _, each in found)
        self._add_unlisted(name, value, found)
        self.leaves += adapted_leaves(name, found, self._adapted)
        return StateEntry(name=name, class_name=type(value).__name__, classes=classes)

    def _add_variables(
        self,
        name: str,
        role: str,
        variables: Iterable[Any],
        seeds: Mapping[int, str],
        places: Mapping[int, str],
    ) -> None:
        """Add the variables of one role."""
        index = 0
        for variable in variables:
            raw = _tf_variable(variable)
            if raw is None or not self._is_new(raw):
                continue
            self.leaves.append(
                variable_leaf(
                    f"{name}/{role}/{index}",
                    seeds.get(id(variable)) or path_of(variable),
                    raw,
                    _trainable(variable),
                    place=places.get(id(variable), ""),
                )
            )
            index += 1

    def _add_unlisted(self, name: str, value: Any, found: Sequence[tuple[str, Any]]) -> None:
        """Add values outside of Keras' lists: variables, tables, iterators, Python state."""
        # A counter for each role, so that a new table does not change the keys of variables.
        variables, others, python = 0, 0, 0
        for path, each in values_among(found):
            if isinstance(each, keras.Variable | tf.Variable):
                raw = _tf_variable(each)
                if raw is not None and self._is_new(raw):
                    role = VARIABLES if not isinstance(value, keras.Layer) else EXTRA
                    self.leaves.append(
                        variable_leaf(
                            f"{name}/{role}/{variables}",
                            path or path_of(each),
                            raw,
                            _trainable(each),
                        )
                    )
                    variables += 1
            elif self._is_new(each):
                self.leaves.append(TrackableLeaf(f"{name}/trackables/{others}", path or name, each))
                others += 1
        for path, each in _python_objects(name, value):
            accessors = python_accessors(each)
            if accessors is not None and self._is_new(each):
                self.leaves.append(
                    PythonLeaf(f"{name}/state/{python}", path, *accessors, source=each)
                )
                python += 1

    def _is_new(self, value: Any) -> bool:
        if id(value) in self._seen:
            return False
        self._seen[id(value)] = value
        return True


def _keras_variables(value: Any) -> list[tuple[str, list[Any]]]:
    """Return the variables in Keras' own lists by role, in Keras' order."""
    if isinstance(value, keras.Model):
        weights = list(value.weights)
        known = {id(variable) for variable in weights}
        optimizer = getattr(value, "optimizer", None)
        return [
            ("weights", weights),
            ("seeds", [variable for variable in value.variables if id(variable) not in known]),
            (
                "optimizer",
                list(optimizer.variables)
                if isinstance(optimizer, keras.optimizers.Optimizer)
                else [],
            ),
            ("metrics", list(value.metrics_variables)),
        ]
    if isinstance(value, keras.Layer):
        known = {id(variable) for variable in value.weights}
        return [
            ("weights", list(value.weights)),
            ("seeds", [variable for variable in value.variables if id(variable) not in known]),
        ]
    if isinstance(value, keras.optimizers.Optimizer):
        return [("optimizer", list(value.variables))]
    if isinstance(value, keras.metrics.Metric):
        return [("metrics", list(value.variables))]
    return []


def optimizers_in(value: Any) -> list[tuple[str, Any]]:
    """Return the optimizers in an entry of the state, with their paths.

    An optimizer counts if it is the entry itself, if a model is compiled with it, or if it is an
    attribute of a model or module.
    """
    if isinstance(value, keras.optimizers.Optimizer):
        # LossScaleOptimizer wraps the optimizer that has the hyperparameters.
        inner = getattr(value, "inner_optimizer", None)
        return [("", value)] + ([("inner_optimizer", inner)] if inner is not None else [])
    if isinstance(value, Mapping):
        pairs = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(str(index), item) for index, item in enumerate(value)]
    elif isinstance(value, keras.Model | tf.Module | tf.train.Checkpoint):
        pairs = list(object_attributes.attributes(value))
        if isinstance(value, tf.train.Checkpoint):
            pairs += list(tf.train.TrackableView.children(value).items())
        pairs = [
            (name, item) for name, item in pairs if isinstance(item, keras.optimizers.Optimizer)
        ]
    else:
        return []
    return [
        (".".join(filter(None, (name, inner))), found)
        for name, item in pairs
        for inner, found in optimizers_in(item)
    ]


def _seed_paths(value: Any) -> dict[int, str]:
    """Return names for the states of a layer's seed generators, by id.

    Keras lists these states without the names of their layers. The name of a layer alone does not
    tell the two directions of a `Bidirectional` apart, whose cells Keras makes in another order
    when it builds the model from its configuration. The path of a layer exists once it is built.
    """
    if not isinstance(value, keras.Layer):
        return {}
    return {
        id(generator.state): f"{getattr(layer, 'path', None) or layer.name}/"
        f"{path_of(generator.state)}"
        for layer in keras_models.layers_of(value)
        for generator in keras_models.seed_generators_of(layer)
    }


def _places(value: Any) -> dict[int, str]:
    """Return the places of a model's weights among its attributes, by identity.

    The order of weights is that in which layers were made. If a program makes them in another
    order, only the places show which is which.
    """
    if not isinstance(value, keras.Model):
        return {}
    try:
        return {
            identity: address
            for identity, (address, _) in keras_saving.addresses_in_h5(value).items()
        }
    # Layers of the user's own may refuse to be saved by Keras. Then the order has to do.
    except Exception as error:
        logger.debug("the places of the weights of %s are not known: %s", value.name, error)
        return {}


def _python_objects(path: str, value: Any) -> list[tuple[str, Any]]:
    """Return the objects in an entry that may have Python state, with their paths."""
    if isinstance(value, Mapping) and not tf_checkpoint.is_trackable(value):
        return [
            pair for key, item in value.items() for pair in _python_objects(f"{path}.{key}", item)
        ]
    if isinstance(value, list | tuple):
        return [
            pair
            for index, item in enumerate(value)
            for pair in _python_objects(f"{path}.{index}", item)
        ]
    if isinstance(
        value,
        keras.Layer
        | keras.Variable
        | keras.optimizers.Optimizer
        | keras.metrics.Metric
        | tf.Variable,
    ):
        return []
    # A tf.Module is a user's class, which may have get_state() in addition to variables.
    if tf_checkpoint.is_trackable(value) and not isinstance(value, tf.Module):
        return []
    return [(path, value)]


def _tf_variable(variable: Any) -> tf.Variable | None:
    """Return the `tf.Variable` behind a Keras variable, or None if it has no value yet."""
    if isinstance(variable, keras.Variable):
        return None if tf_checkpoint.uninitialized(variable) else variable.value
    return variable


def _trainable(variable: Any) -> bool | None:
    trainable = getattr(variable, "trainable", None)
    return None if trainable is None else bool(trainable)
