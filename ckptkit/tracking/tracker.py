"""From `state={...}` to leaves: every variable once, under a key of ckptkit's own.

Identity is structure and position: the same program gives the same keys, whatever numbers Keras has
put behind its names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import keras
import tensorflow as tf

from ckptkit.compat import keras_models, object_attributes, tf_checkpoint
from ckptkit.errors import ConfigError
from ckptkit.run.manifest import StateEntry
from ckptkit.tracking.leaf_group import LeafGroup
from ckptkit.tracking.leaves import Leaf, PythonLeaf, TrackableLeaf, VariableLeaf, python_accessors
from ckptkit.tracking.lost_orders import lost_orders
from ckptkit.tracking.structure import Structure
from ckptkit.tracking.walk import walk

_OURS = ("root", "fit", "loop", "process")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Tracked:
    """The state at one moment of the program: which leaves there are.

    Args:
        states: what the user named, in order.
        groups: everything with values, each once.
        roots: the objects that they were found in.
    """

    states: tuple[StateEntry, ...] = ()
    groups: tuple[LeafGroup, ...] = ()
    roots: tuple[Any, ...] = ()

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Everything with values, in order."""
        return tuple(leaf for group in self.groups for leaf in group.leaves)


@runtime_checkable
class OwnLeaves(Protocol):
    """An entry of the state that knows its leaves itself."""

    def leaves(self, name: str) -> list[Leaf]:
        """The leaves of now; those with the role `data` may be missing in the program or in the
        checkpoint.
        """
        ...


def check_state(state: Mapping[str, Any]) -> None:
    """Checks names and kinds of `state={...}`.

    Raises:
        ConfigError: where a name cannot be part of a key, or a value is nothing that can be saved.
    """
    if not isinstance(state, Mapping) or not state:
        raise ConfigError(
            f"state names what is to be saved, as in state={{'model': model}}. Received: {state!r}."
        )
    for name, value in state.items():
        if (
            not isinstance(name, str)
            or not _NAME.fullmatch(name)
            or hasattr(tf.train.Checkpoint, name)
            or name in _OURS
        ):
            raise ConfigError(
                "A name in state becomes part of TensorFlow's keys: letters, digits, '_' and "
                "'-', not beginning "
                f"with a digit, and none of {_reserved()}. Received: {name!r}."
            )
        unknown = _unknown(value, f"state[{name!r}]")
        if unknown is not None:
            where, thing = unknown
            raise ConfigError(
                f"{where} is {_kind_of(thing)}, which cannot be saved. Expected a Keras model, "
                "layer, metric or optimizer, a tf.Variable, "
                "tf.Module, tf.train.Checkpoint, tf.random.Generator, lookup table, iterator of "
                "tf.data, a random.Random or "
                "numpy.random.Generator, a list or dictionary of these, or an object with "
                "get_state()/set_state(state) or "
                f"state_dict()/load_state_dict(state).{_hint(thing)}"
            )


def _reserved() -> str:
    return ", ".join(
        sorted(n for n in (*dir(tf.train.Checkpoint), *_OURS) if not n.startswith("_"))
    )


def _hint(value: Any) -> str:
    if isinstance(value, tf.data.Dataset):
        return " A dataset has no position: make the iterator first, batches = iter(dataset), and name that."
    if isinstance(value, tf.Tensor):
        return " A tensor never changes: name the tf.Variable that it came from."
    return ""


def _kind_of(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__module__}.{value.__qualname__} itself"
    if isinstance(value, list | tuple | Mapping) and not value:
        return f"an empty {type(value).__qualname__}"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def _unknown(value: Any, where: str) -> tuple[str, Any] | None:
    """The first thing in a value that cannot be saved, and where it is; None where there is none."""
    if isinstance(value, list | tuple | Mapping) and value:
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            found = _unknown(item, f"{where}[{key!r}]")
            if found is not None:
                return found
        return None
    return None if _is_known(value) else (where, value)


def _is_known(value: Any) -> bool:
    if isinstance(
        value,
        (
            type,
            list,
            tuple,
            Mapping,
            tf.data.Dataset,
            tf.Tensor,
            tf.types.experimental.PolymorphicFunction,
        ),
    ):
        return False
    return (
        isinstance(
            value,
            keras.Layer
            | keras.Variable
            | keras.optimizers.Optimizer
            | keras.metrics.Metric
            | keras.random.SeedGenerator
            | tf.Variable,
        )
        or tf_checkpoint.is_trackable(value)
        or python_accessors(value) is not None
    )


def track(state: Mapping[str, Any]) -> Tracked:
    """All leaves of `state`, in the order in which they were named.

    Args:
        state: as `check_state` accepts it, with models and optimizers built.
    """
    collector = _Collector()
    states = tuple(collector.add(name, value) for name, value in state.items())
    return Tracked(states, (LeafGroup(collector.leaves),), tuple(state.values()))


class Tracker:
    """The leaves of a state that training goes on changing: found once, and again where its
    structure has changed.

    Args:
        state: as `track` takes it.

    Attributes:
        lost_orders: of the iterators in it, see `position.lost_orders`.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.lost_orders: list[str] = []
        self._own = {name: value for name, value in state.items() if _is_own(name, value)}
        self._users = {name: value for name, value in state.items() if name not in self._own}
        self._structure: Structure | None = None
        self._tracked = Tracked()

    def now(self) -> Tracked:
        """All leaves of now."""
        if self._structure is None or not self._structure.unchanged():
            self._tracked = track(self._users)
            self._structure = Structure(self._users.values())
            self.lost_orders = lost_orders(self._tracked.leaves)
        own = track(self._own)
        return Tracked(
            self._tracked.states + own.states,
            self._tracked.groups + own.groups,
            self._tracked.roots + own.roots,
        )


def _is_own(name: str, value: Any) -> bool:
    """Whether an entry is one of ours; a user's object may have `leaves` too, which mean something
    else.
    """
    return name in _OURS and isinstance(value, OwnLeaves)


class _Collector:
    """Gathers leaves and gives each its key; what was seen before is not taken twice."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self._seen: dict[int, Any] = {}  # the object is held, so that its id stays its own

    def add(self, name: str, value: Any) -> StateEntry:
        if _is_own(name, value):
            self.leaves += value.leaves(name)
            return StateEntry(name=name, class_name=type(value).__name__)
        classes = {path: type(found).__name__ for path, found in optimizers_in(value)}
        seeds = _owners_of_seeds(value)
        for role, variables in _listed(value):
            self._variables(name, role, variables, seeds)
        self._found(name, value)
        return StateEntry(name=name, class_name=type(value).__name__, classes=classes)

    def _variables(
        self, name: str, role: str, variables: Iterable[Any], seeds: Mapping[int, str]
    ) -> None:
        index = 0
        for variable in variables:
            raw = _raw(variable)
            if raw is None or not self._first_time(raw):
                continue
            self.leaves.append(
                VariableLeaf(
                    f"{name}/{role}/{index}",
                    seeds.get(id(variable)) or path_of(variable),
                    raw,
                    _trainable(variable),
                )
            )
            index += 1

    def _found(self, name: str, value: Any) -> None:
        """What the public lists do not name: variables, tables, iterators, Python state."""
        variables, others, python = 0, 0, 0
        for path, found in walk(value):
            if isinstance(found, keras.Variable | tf.Variable):
                raw = _raw(found)
                if raw is not None and self._first_time(raw):
                    role = "variables" if not isinstance(value, keras.Layer) else "extra"
                    self.leaves.append(
                        VariableLeaf(
                            f"{name}/{role}/{variables}",
                            path or path_of(found),
                            raw,
                            _trainable(found),
                        )
                    )
                    variables += 1
            elif self._first_time(found):
                self.leaves.append(
                    TrackableLeaf(f"{name}/trackables/{others}", path or name, found)
                )
                others += 1
        for path, found in _python_objects(name, value):
            accessors = python_accessors(found)
            if accessors is not None and self._first_time(found):
                self.leaves.append(PythonLeaf(f"{name}/state/{python}", path, *accessors))
                python += 1

    def _first_time(self, value: Any) -> bool:
        if id(value) in self._seen:
            return False
        self._seen[id(value)] = value
        return True


def _listed(value: Any) -> list[tuple[str, list[Any]]]:
    """Variables under the roles that Keras gives them, in Keras' own order."""
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
    """Optimizers of a state's entry: itself, a model's own, and those that a model or module holds
    as attributes.
    """
    if isinstance(value, keras.optimizers.Optimizer):
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


def _owners_of_seeds(value: Any) -> dict[int, str]:
    """How to call the states of seed generators in a layer, which Keras lists without their owners'
    names.
    """
    if not isinstance(value, keras.Layer):
        return {}
    return {
        id(generator.state): f"{layer.name}/{path_of(generator.state)}"
        for layer in keras_models.layers_of(value)
        for generator in keras_models.seed_generators_of(layer)
    }


def _python_objects(path: str, value: Any) -> list[tuple[str, Any]]:
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
    if tf_checkpoint.is_trackable(value) and not isinstance(value, tf.Module):
        return []
    return [(path, value)]


def _raw(variable: Any) -> tf.Variable | None:
    """The `tf.Variable` behind a Keras variable; None where it has no value yet."""
    if isinstance(variable, keras.Variable):
        return None if tf_checkpoint.uninitialized(variable) else variable.value
    return variable


def path_of(variable: Any) -> str:
    """The name under which Keras or TensorFlow knows a variable."""
    return str(getattr(variable, "path", None) or variable.name.removesuffix(":0"))


def _trainable(variable: Any) -> bool | None:
    trainable = getattr(variable, "trainable", None)
    return None if trainable is None else bool(trainable)
