"""Finds all objects that the state refers to, and notices if these references change.

Keras and TensorFlow list most values, but not those inside plain Python attributes and containers.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import object_attributes, tf_checkpoint

_CONTAINERS = (list, tuple, deque, dict, set, frozenset)
_HOLDERS = (types.SimpleNamespace, types.MethodType, functools.partial)
_FOLLOWED = (
    keras.Layer,
    keras.metrics.Metric,
    keras.losses.Loss,
    keras.optimizers.Optimizer,
    keras.random.SeedGenerator,
    tf.Module,
    tf.train.Checkpoint,
)
# Objects of these packages refer to thousands of others without user state. Classes of the user's
# script are in `__main__`, which must always be followed.
_FOREIGN = frozenset(
    {"keras", "tensorflow", "numpy", "ckptkit", "builtins", *sys.stdlib_module_names}
) - {"__main__"}


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Return every variable, table and iterator inside an object, with its path.

    It follows Keras objects, tf.Modules, containers and objects of the user's classes, and the
    tracked children of TensorFlow's trackables. Each object is visited once. The order depends only
    on the program, so that two processes give the same values the same numbers.

    Args:
        root: the object to search.
    """
    return values_among(visit(root))


def values_among(found: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the variables, tables and iterators among objects that `visit` has found."""
    for path, value in found:
        if isinstance(value, keras.Variable):
            if not tf_checkpoint.uninitialized(value):
                yield path, value
        elif isinstance(value, tf.Variable) or (
            not isinstance(value, keras.Layer)
            and tf_checkpoint.is_trackable(value)
            and tf_checkpoint.serializes(value)
        ):
            yield path, value


def visit(root: Any, seen: dict[int, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield every object that may have or contain values, in the order of `walk`.

    Args:
        root: the object to search.
        seen: the visited objects by id, which are skipped; newly found objects are added.
    """
    # Attributes may create their objects on access. Without a reference such an object would be
    # freed, and another one could get the same id and be skipped by mistake.
    seen = {} if seen is None else seen
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        path, value = stack.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        yield path, value
        if not isinstance(value, keras.Variable | tf.Variable):
            # A stack returns the last child first, so children are pushed in reverse order.
            stack.extend(
                reversed(
                    [
                        (f"{path}.{name}" if path else name, child)
                        for name, child in _children(value)
                    ]
                )
            )


def reachable(roots: Iterable[Any]) -> list[Any]:
    """Return every object that `visit` finds in several objects, each once.

    Args:
        roots: the objects to search.
    """
    seen: dict[int, Any] = {}
    return [value for root in roots for _, value in visit(root, seen)]


def _children(value: Any) -> list[tuple[str, Any]]:
    """Return the children of a value with their names, in an order that the program decides."""
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items() if may_lead_on[type(item)]]
    if isinstance(value, list | tuple | deque):
        return [(str(index), item) for index, item in enumerate(value) if may_lead_on[type(item)]]
    if isinstance(value, functools.partial):
        return [
            (name, getattr(value, name))
            for name in ("func", "args", "keywords")
            if may_lead_on[type(getattr(value, name))]
        ]
    if isinstance(value, types.MethodType):
        return [("__self__", value.__self__)] if may_lead_on[type(value.__self__)] else []
    if isinstance(value, set | frozenset):
        # Two processes iterate over the same set in different orders, because hashes of strings and
        # addresses differ. Only the order of names is the same in both.
        return [
            (str(index), item)
            for index, item in enumerate(sorted(value, key=_name_of))
            if may_lead_on[type(item)]
        ]
    if follows_attributes(value):
        found = [
            (name, item)
            for name, item in object_attributes.attributes(value)
            if may_lead_on[type(item)]
        ]
        # Keras tracks the same objects a second time in TensorFlow, under other names. For a
        # tf.Module, TensorFlow may track more objects than its attributes.
        listed_by_tensorflow = tf_checkpoint.is_trackable(value) and not isinstance(
            value, keras.Layer
        )
        return found + tracked_children(value) if listed_by_tensorflow else found
    return tracked_children(value) if tf_checkpoint.is_trackable(value) else []


def tracked_children(value: Any) -> list[tuple[str, Any]]:
    """Return the children of a trackable object that TensorFlow tracks."""
    skipped = object_attributes.not_followed(value)
    return [
        (name, item)
        for name, item in tf.train.TrackableView.children(value).items()
        if name not in skipped and may_lead_on[type(item)]
    ]


def is_of_a_library(module: str) -> bool:
    """Whether a module belongs to a library that holds no state of the user's."""
    return str(module).partition(".")[0] in _FOREIGN


class _ByType(dict[type, bool]):
    """Caches the result of a predicate for each type."""

    # A dictionary with `__missing__` answers for a known type without a Python call. `walk` asks
    # once for each attribute, which takes most of its time.

    def __init__(self, question: Callable[[type], bool]) -> None:
        super().__init__()
        self._question = question

    def __missing__(self, kind: type) -> bool:
        self[kind] = answer = self._question(kind)
        return answer


def _is_users_own(kind: type) -> bool:
    """Return whether a class is the user's code, so that its attributes may have state."""
    # Callbacks have their own state in the checkpoint, and refer to the model and back.
    if issubclass(kind, (type, types.FunctionType, keras.callbacks.Callback)):
        return False
    return (
        issubclass(kind, types.SimpleNamespace) or kind.__module__.partition(".")[0] not in _FOREIGN
    )


def _leads_on(kind: type) -> bool:
    """Return whether objects of a type may have or contain values."""
    # A tf.function does not own the variables that it uses.
    if issubclass(kind, (type, tf.types.experimental.PolymorphicFunction)):
        return False
    return (
        issubclass(kind, (*_CONTAINERS, *_HOLDERS, *_FOLLOWED, keras.Variable, tf.Variable))
        or tf_checkpoint.is_trackable(kind)
        or _is_users_own(kind)
    )


may_lead_on = _ByType(_leads_on)
"""For each type, whether its objects may have or contain values."""

_attributes_are_followed = _ByType(lambda kind: issubclass(kind, _FOLLOWED) or _is_users_own(kind))


def follows_attributes(value: Any) -> bool:
    """Return whether `walk` visits the attributes of an object."""
    return _attributes_are_followed[type(value)]


def _name_of(value: Any) -> list[str | int]:
    """Return the sort key of a named object: its name, split at its numbers."""
    # For these: see `leaves.path_of`.
    is_spread = isinstance(value, tf.distribute.DistributedValues)
    path = None if is_spread else getattr(value, "path", None)
    name = str(path or getattr(value, "name", None) or repr(value))
    # Numbers compare as numbers, because Keras counts per process: `dense_9` and `dense_10` must
    # have the same order as `dense_1` and `dense_2` in a fresh process.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


class ReachableObjects:
    """The objects that a state refers to at one moment, to notice later changes cheaply.

    To find all leaves takes milliseconds for a model, and a quarter of a second for ten thousand
    variables. To check whether references have changed takes a fraction of that.

    Args:
        objects: all of them, each once.
    """

    def __init__(self, objects: Sequence[Any]) -> None:
        # References keep the objects alive, because ids are compared below, and Python reuses the
        # id of a freed object.
        self._found = objects
        self._dicts: list[dict[Any, Any]] = []
        self._sequences: list[Any] = []
        self._sets: list[Any] = []
        self._slotted: list[Any] = []
        self._trackables: list[Any] = []
        self._uninitialized: list[Any] = []
        for value in self._found:
            self._sort_in(value)
        self._links = self._current_links()

    def _sort_in(self, value: Any) -> None:
        """Add an object to the list of its kind, so that one loop reads the references of all."""
        if isinstance(value, keras.Variable | tf.Variable):
            if isinstance(value, keras.Variable) and tf_checkpoint.uninitialized(value):
                self._uninitialized.append(value)
        elif isinstance(value, dict):
            self._dicts.append(value)
        elif isinstance(value, list | tuple | deque):
            self._sequences.append(value)
        elif isinstance(value, set | frozenset):
            self._sets.append(value)
        elif follows_attributes(value):
            own = getattr(value, "__dict__", None)
            if own is not None:
                self._dicts.append(own)
            if object_attributes.slots_of(type(value)):
                self._slotted.append(value)
            if isinstance(value, tf.train.Checkpoint):
                self._trackables.append(value)
        elif tf_checkpoint.is_trackable(value):
            self._trackables.append(value)

    def unchanged(self) -> bool:
        """Return whether every object still refers to the same objects."""
        return self._current_links() == self._links

    def _current_links(self) -> tuple[list[Any], ...]:
        """Return the names and ids of all objects that the known objects refer to now.

        The names count too: two attributes may have exchanged their values.
        """
        # Written for speed, with comprehensions over lists of one kind and local names: this runs
        # before each save, on the training thread.
        leads, skipped = may_lead_on, object_attributes.NOT_FOLLOWED
        return (
            [
                # Other keys may have no equality that is a bool, as variables.
                (name if type(name) is str else id(name), id(item))
                for each in self._dicts
                for name, item in each.items()
                if leads[type(item)] and name not in skipped
            ],
            [id(item) for each in self._sequences for item in each if leads[type(item)]],
            # Lengths are compared too, because an item may move from the end of one list to the
            # start of the next.
            [len(each) for each in self._sequences],
            [identity for each in self._sets for identity in sorted(map(id, each))],
            [
                (name, id(item))
                for each in self._slotted
                for name, item in object_attributes.attributes(each)
                if leads[type(item)]
            ],
            [
                (name, id(item))
                for each in self._trackables
                for name, item in tf.train.TrackableView.children(each).items()
                if leads[type(item)]
            ],
            [tf_checkpoint.uninitialized(each) for each in self._uninitialized],
        )
