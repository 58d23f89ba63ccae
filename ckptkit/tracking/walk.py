"""Finding everything with values inside an object, also where neither Keras nor TensorFlow lists
it.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
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
_FOREIGN = frozenset(
    {"keras", "tensorflow", "numpy", "ckptkit", "builtins", *sys.stdlib_module_names}
) - {"__main__"}


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Everything in `root` that has values: variables, tables, iterators, each with the path that
    leads to it.

    Follows Keras objects, tf.Modules, containers and objects of the user's own classes; of
    TensorFlow's own trackables, what they track. Each object is visited once, in an order that
    follows from the program alone.
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


def visit(root: Any) -> Iterator[tuple[str, Any]]:
    """Everything in `root` that may have values or lead to some, in the order of `walk`."""
    seen: set[int] = set()
    alive: list[Any] = []  # an id may be used again once its object is gone
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        path, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        alive.append(value)
        yield path, value
        if not isinstance(value, keras.Variable | tf.Variable):
            stack.extend(
                reversed(
                    [
                        (f"{path}.{name}" if path else name, child)
                        for name, child in _children(value)
                    ]
                )
            )


def _children(value: Any) -> list[tuple[str, Any]]:
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
        # No order that two processes share, but for objects with names.
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
        listed_by_tensorflow = tf_checkpoint.is_trackable(value) and not isinstance(
            value, keras.Layer
        )
        return found + _tracked(value) if listed_by_tensorflow else found
    return _tracked(value) if tf_checkpoint.is_trackable(value) else []


def _tracked(value: Any) -> list[tuple[str, Any]]:
    skipped = object_attributes.not_followed(value)
    return [
        (name, item)
        for name, item in tf.train.TrackableView.children(value).items()
        if name not in skipped and may_lead_on[type(item)]
    ]


class _ByType(dict[type, bool]):
    """A question to a type, asked once for each."""

    def __init__(self, question: Callable[[type], bool]) -> None:
        super().__init__()
        self._question = question

    def __missing__(self, kind: type) -> bool:
        self[kind] = answer = self._question(kind)
        return answer


def _is_users_own(kind: type) -> bool:
    if issubclass(kind, (type, types.FunctionType, keras.callbacks.Callback)):
        return False
    return (
        issubclass(kind, types.SimpleNamespace) or kind.__module__.partition(".")[0] not in _FOREIGN
    )


def _leads_on(kind: type) -> bool:
    if issubclass(kind, (type, tf.types.experimental.PolymorphicFunction)):
        return False  # a function does not own the variables that it uses
    return (
        issubclass(kind, (*_CONTAINERS, *_HOLDERS, *_FOLLOWED, keras.Variable, tf.Variable))
        or tf_checkpoint.is_trackable(kind)
        or _is_users_own(kind)
    )


may_lead_on = _ByType(_leads_on)
"""By type: whether an object may have values, or lead to some."""

_attributes_are_followed = _ByType(lambda kind: issubclass(kind, _FOLLOWED) or _is_users_own(kind))


def follows_attributes(value: Any) -> bool:
    """Whether `walk` looks at an object's attributes; it is no container."""
    return _attributes_are_followed[type(value)]


def _name_of(value: Any) -> list[str | int]:
    name = str(getattr(value, "path", None) or getattr(value, "name", None) or repr(value))
    # By number: `dense_9` comes before `dense_10`, as `dense_1` before `dense_2` where the numbers
    # began earlier.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
