"""The objects that a state leads to: finding all values among them, and noticing changes.

Keras and TensorFlow list most values, but not those inside plain Python attributes and containers.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
# Objects of these packages lead to thousands of others that hold no state of the user's. What the
# user's script defines is in `__main__`, which must always be followed.
_FOREIGN = frozenset(
    {"keras", "tensorflow", "numpy", "ckptkit", "builtins", *sys.stdlib_module_names}
) - {"__main__"}


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every variable, table and iterator inside an object, with the path that leads to it.

    Follows Keras objects, tf.Modules, containers and objects of the user's own classes. Of
    TensorFlow's own trackables it follows what they track. Each object is visited once, in an order
    that depends on the program alone, so that two processes number the same values alike.

    Args:
        root: the object to search.
    """
    for path, value in visit(root):
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
    """Yield every object that may have values or lead to some, in the order of `walk`.

    Args:
        root: the object to search.
        seen: objects by id that were visited already, and are skipped; those found are added.
    """
    # Attributes may be made when they are asked for. Without a reference such an object would be
    # freed, and the next one could get the same id and be taken for already visited.
    seen = {} if seen is None else seen
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        path, value = stack.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        yield path, value
        if not isinstance(value, keras.Variable | tf.Variable):
            # A stack gives back the last child first, so the children are put on it in reverse.
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
    """Return the objects that a value leads to, with their names, in an order of the program's."""
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
        # addresses differ. Names are the only order that both share.
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
        # Keras tracks the same objects in TensorFlow once more, under names of its own; for a
        # tf.Module, what TensorFlow tracks may be more than its attributes.
        listed_by_tensorflow = tf_checkpoint.is_trackable(value) and not isinstance(
            value, keras.Layer
        )
        return found + _tracked(value) if listed_by_tensorflow else found
    return _tracked(value) if tf_checkpoint.is_trackable(value) else []


def _tracked(value: Any) -> list[tuple[str, Any]]:
    """Return the children that TensorFlow tracks under a trackable object."""
    skipped = object_attributes.not_followed(value)
    return [
        (name, item)
        for name, item in tf.train.TrackableView.children(value).items()
        if name not in skipped and may_lead_on[type(item)]
    ]


class _ByType(dict[type, bool]):
    """Caches the answer to a yes-or-no question about a type."""

    # A dictionary with `__missing__` answers a known type without a Python call. `walk` asks once
    # for each attribute, which is the larger part of its time.

    def __init__(self, question: Callable[[type], bool]) -> None:
        super().__init__()
        self._question = question

    def __missing__(self, kind: type) -> bool:
        self[kind] = answer = self._question(kind)
        return answer


def _is_users_own(kind: type) -> bool:
    """Whether a class is the user's code, so that its attributes may hold state."""
    # Callbacks have a state of their own in the checkpoint, and lead to the model and back.
    if issubclass(kind, (type, types.FunctionType, keras.callbacks.Callback)):
        return False
    return (
        issubclass(kind, types.SimpleNamespace) or kind.__module__.partition(".")[0] not in _FOREIGN
    )


def _leads_on(kind: type) -> bool:
    """Whether objects of a type may have values, or lead to some."""
    # A tf.function does not own the variables that it uses.
    if issubclass(kind, (type, tf.types.experimental.PolymorphicFunction)):
        return False
    return (
        issubclass(kind, (*_CONTAINERS, *_HOLDERS, *_FOLLOWED, keras.Variable, tf.Variable))
        or tf_checkpoint.is_trackable(kind)
        or _is_users_own(kind)
    )


may_lead_on = _ByType(_leads_on)
"""By type: whether an object may have values, or lead to some."""

_attributes_are_followed = _ByType(lambda kind: issubclass(kind, _FOLLOWED) or _is_users_own(kind))


def follows_attributes(value: Any) -> bool:
    """Whether `walk` visits the attributes of an object."""
    return _attributes_are_followed[type(value)]


def _name_of(value: Any) -> list[str | int]:
    """Return the sort key of a named object: its name, split at its numbers."""
    name = str(getattr(value, "path", None) or getattr(value, "name", None) or repr(value))
    # Numbers compare as numbers, because Keras counts per process: `dense_9` and `dense_10` must
    # stand in the same order as `dense_1` and `dense_2` of the same program in a fresh process.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


class ReachableObjects:
    """The objects that a state leads to at one moment, to notice later changes cheaply.

    Finding all leaves takes milliseconds for a model, and a quarter of a second for ten thousand
    variables. Asking whether anything has changed since takes a fraction of that.

    Args:
        roots: the entries of the state.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        # References keep the objects alive: identities are compared below, and Python gives the
        # identity of a freed object to a new one.
        self._found = reachable(roots)
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
        """Puts an object into the list of its kind, so that its links are read in one loop."""
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
        """Whether every object leads to the same objects as when this was made."""
        return self._current_links() == self._links

    def _current_links(self) -> tuple[list[int], ...]:
        """Return the identities of all objects that the known objects lead to now."""
        # Comprehensions over lists of one kind, and local names: this runs before each save, on the
        # training thread.
        leads, skipped = may_lead_on, object_attributes.NOT_FOLLOWED
        return (
            [
                id(item)
                for each in self._dicts
                for name, item in each.items()
                if leads[type(item)] and name not in skipped
            ],
            [id(item) for each in self._sequences for item in each if leads[type(item)]],
            # Lengths too: an item may move from the end of one list to the start of the next one.
            [len(each) for each in self._sequences],
            [identity for each in self._sets for identity in sorted(map(id, each))],
            [
                id(item)
                for each in self._slotted
                for _, item in object_attributes.attributes(each)
                if leads[type(item)]
            ],
            [
                id(item)
                for each in self._trackables
                for item in tf.train.TrackableView.children(each).values()
                if leads[type(item)]
            ],
            [tf_checkpoint.uninitialized(each) for each in self._uninitialized],
        )
