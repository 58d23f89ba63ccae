"""Encodes the contents of Python objects as JSON and tensors, without pickle.

A value that JSON supports is encoded as itself, and every other value as a dictionary with one
mark. Objects of the program are encoded by their path. Objects that training has created are
described completely, but only once, so that a shared object is shared again after a restore.
"""

from __future__ import annotations

import collections
import functools
import types
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ckptkit.tracking import object_kinds, python_state
from ckptkit.tracking.array_pools import ArrayPools
from ckptkit.tracking.object_classification import Skipped, Unsavable, classify
from ckptkit.tracking.object_kinds import (
    ARRAY,
    DICT,
    FUNCTION,
    MISSING,
    OBJECT,
    SEQUENCE,
    Kind,
    StateKind,
)
from ckptkit.tracking.plain_values import NOT_PLAIN, encode_plain, global_name
from ckptkit.tracking.program_objects import (
    Place,
    ProgramObjects,
    attribute_place,
    held_resource,
    is_made_late,
)

_PACKED_FROM = 64
"""The length from which a sequence of one type is saved as an array.

JSON takes a microsecond for each number."""

_COMPOSITES = (
    (tf.RaggedTensor, "ragged"),
    (tf.SparseTensor, "sparse"),
    (tf.IndexedSlices, "slices"),
)


class ObjectEncoder:
    """Encodes the contents of objects at one moment.

    Args:
        objects: the objects of the program.
        lost: called for each value that cannot be saved, with its place and a description.
    """

    def __init__(self, objects: ProgramObjects, lost: Callable[[Place, str], None]) -> None:
        self._objects, self._lost = objects, lost
        self._pools = ArrayPools()
        self._tensors: list[tf.Tensor] = []
        self._created: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []
        self._pending: list[tuple[int, Place, Any, Kind]] = []

    # -- objects

    def contents(self, place: Place, value: Any, kind: Kind, contents: Any) -> Any:
        """Return the encoded contents of an object.

        Args:
            place: where the object is.
            value: the object.
            kind: its kind.
            contents: the contents that the kind returned.
        """
        if isinstance(kind, StateKind):
            return self._state(place, kind, contents[0])
        if isinstance(contents, dict):
            return {
                name: self.form(item, attribute_place(place, value, name))
                for name, item in contents.items()
            }
        return self._sequence(contents, place)

    def _state(self, place: Place, kind: StateKind, state: Any) -> Any:
        if kind is ARRAY:
            return {"row": self._pools.place(state.copy() if _is_small(state) else state)}
        if kind is object_kinds.VARIABLE and not isinstance(state, dict):
            return {"tensor": self._tensor(state)}
        # A variable with a value per replica, or an object of TensorFlow's.
        if kind in (object_kinds.VARIABLE, object_kinds.TRACKABLE):
            return {"tensors": {name: self._tensor(tensor) for name, tensor in state.items()}}
        # The state from an object's own method must be savable; this raises otherwise.
        text, arrays = python_state.encode(state, f"The state of {place.words()}")
        return {"text": text, "arrays": [self._pools.place(array) for array in arrays]}

    def document(self, objects: dict[str, Any]) -> tuple[dict[str, Any], list[tf.Tensor]]:
        """Return everything as JSON values, with the tensors to which it refers.

        Args:
            objects: the encoded contents of the program's objects, by path.
        """
        while self._pending:
            number, place, value, kind = self._pending.pop()
            contents = kind.contents(value)
            self._created[number]["contents"] = self.contents(place, value, kind, contents)
        described, pools = self._pools.tensors()
        made = {"objects": objects, "created": self._created, "pools": described}
        return {**made, "tensors": len(self._tensors)}, [*self._tensors, *pools]

    # -- values

    def form(self, value: Any, place: Place) -> Any:
        """Return the form of a value.

        Args:
            value: the value.
            place: where it is.
        """
        plain = encode_plain(value)
        if plain is not NOT_PLAIN:
            return plain
        if value is MISSING:
            return {"__missing__": None}
        if isinstance(value, tuple):
            return self._tuple(value, place)
        if isinstance(value, frozenset):
            return {"__frozenset__": [self.form(item, place) for item in value]}
        if isinstance(value, tf.Tensor | tf.RaggedTensor | tf.SparseTensor | tf.IndexedSlices):
            return self._tensor_form(value, place)
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, list(value.keywords.items()))
            return {"__partial__": [self.form(part, place) for part in parts]}
        if isinstance(value, types.MethodType | types.BuiltinMethodType) and not isinstance(
            value.__self__, types.ModuleType | None
        ):
            return {"__method__": [self.form(value.__self__, place), value.__name__]}
        return self._reference(value, place)

    def _tuple(self, value: tuple[Any, ...], place: Place) -> Any:
        items = [self.form(item, place.child(f"[{i}]")) for i, item in enumerate(value)]
        if type(value) is tuple:
            return {"__tuple__": items}
        name = global_name(type(value))
        if name is None or not hasattr(value, "_fields"):
            return self._lose(place, f"a {type(value).__module__}.{type(value).__qualname__}")
        return {"__named__": [name, items]}

    def _tensor_form(self, value: Any, place: Place) -> Any:
        if isinstance(value, tf.Tensor):
            if not hasattr(value, "numpy") or value.dtype in (tf.variant, tf.resource):
                return self._lose(place, "a symbolic tensor")
            return {"__tensor__": self._tensor(value)}
        kind = next(name for each, name in _COMPOSITES if isinstance(value, each))
        return {"__composite__": [kind, [self._tensor(part) for part in _parts_of(value)]]}

    def _tensor(self, tensor: tf.Tensor) -> int:
        if tensor.dtype not in (tf.string, tf.variant):
            with tf.device("CPU:0"):
                tensor = tf.identity(tensor)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _reference(self, value: Any, place: Place) -> Any:
        known = self._objects.find(value)
        if known is None and is_made_late(value):
            known = self._objects.adopt(value, place)
        if known is not None:
            return {"__at__": known.place.path}
        if id(value) in self._numbers:
            return {"__new__": self._numbers[id(value)]}
        name = global_name(value) if isinstance(value, type | types.FunctionType) else None
        if name is not None:
            return {"__global__": name}
        kind = classify(value)
        if isinstance(kind, Skipped):
            return {"__skipped__": type(value).__qualname__}
        if isinstance(kind, Unsavable):
            return self._lose(place, kind.words)
        return self._create(value, kind, place)

    def _create(self, value: Any, kind: Kind, place: Place) -> Any:
        if kind is ARRAY:
            return {"__row__": self._pools.place(value)}
        held = held_resource(value, kind)
        if held is not None:
            return self._lose(place, held)
        described = _description(value, kind)
        if described is None:
            words = "a function" if kind is FUNCTION else f"a {type(value).__qualname__}"
            return self._lose(place, f"{words} that training has created")
        if kind is DICT and (factory := getattr(value, "default_factory", None)) is not None:
            described["factory"] = self.form(factory, place)
        number = self._numbers[id(value)] = len(self._created)
        self._kept.append(value)
        self._created.append(described)
        self._pending.append((number, place, value, kind))
        return {"__new__": number}

    def _lose(self, place: Place, words: str) -> Any:
        self._lost(place, words)
        return {"__lost__": words}

    # -- long sequences

    def _sequence(self, items: Sequence[Any], place: Place) -> Any:
        packed = self._packed(items, place) if len(items) >= _PACKED_FROM else None
        if packed is not None:
            return packed
        return [self.form(item, place.child(f"[{i}]")) for i, item in enumerate(items)]

    def _packed(self, items: Sequence[Any], place: Place) -> Any:
        kinds = set(map(type, items))
        if len(kinds) != 1:
            return None
        (kind,) = kinds
        if kind in (float, bool):
            return {"numbers": self._pools.place(np.array(items))}
        if kind is int:
            try:
                return {"numbers": self._pools.place(np.array(items, np.int64))}
            except OverflowError:
                return None
        if issubclass(kind, np.generic) and np.array(items[:1]).dtype.kind in "biufc":
            return {"scalars": self._pools.place(np.array(items))}
        if kind is tuple and len(set(map(len, items))) == 1 and items[0]:
            columns = [list(column) for column in zip(*items, strict=True)]
            return {"columns": [self._sequence(column, place) for column in columns]}
        return self._packed_arrays(items) if kind is np.ndarray else None

    def _packed_arrays(self, items: Sequence[Any]) -> Any:
        if any(item.dtype.hasobject or self._objects.find(item) is not None for item in items):
            return None
        places = np.array([self._pools.place(item) for item in items], np.int64)
        return {"rows": self._pools.place(places)}


def _is_small(array: np.ndarray[Any, Any]) -> bool:
    return array.nbytes < 2**16


def _parts_of(value: Any) -> list[tf.Tensor]:
    if isinstance(value, tf.RaggedTensor):
        return [value.flat_values, *value.nested_row_splits]
    if isinstance(value, tf.SparseTensor):
        return [value.indices, value.values, value.dense_shape]
    return [value.values, value.indices] + (
        [value.dense_shape] if value.dense_shape is not None else []
    )


def _description(value: Any, kind: Kind) -> dict[str, Any] | None:
    """Return a description from which an object can be created again, or None."""
    described: dict[str, Any] = {"kind": kind.name}
    if kind is SEQUENCE and isinstance(value, deque):
        return {**described, "maxlen": value.maxlen}
    if kind in (SEQUENCE, DICT, object_kinds.SET):
        plain = (list, dict, set, collections.defaultdict)
        if type(value) in plain or type(value).__module__.partition(".")[0] in _WRAPPERS:
            return described
        return _with_class(described, value)
    if kind is object_kinds.OBJECT_ARRAY:
        return {**described, "shape": list(value.shape)}
    if kind is OBJECT:
        return _with_class(described, value) if _can_be_made(type(value)) else None
    if kind in _MADE_BY_CLASS:
        return {**described, "class": type(value).__name__, "code": getattr(value, "typecode", "")}
    return described if kind is object_kinds.GENERATOR else None


_WRAPPERS = ("keras", "tensorflow")
"""The packages that wrap lists, dictionaries and sets when they are assigned to attributes."""

_MADE_BY_CLASS = (
    object_kinds.BITS,
    object_kinds.BUFFER,
    object_kinds.PYTHON_RANDOM,
    object_kinds.RANDOM_STATE,
    object_kinds.STREAM,
)


def _with_class(described: dict[str, Any], value: Any) -> dict[str, Any]:
    kind = type(value)
    return {**described, "class": f"{kind.__module__}:{kind.__qualname__}"}


def _can_be_made(kind: Any) -> bool:
    """Return whether objects of a class can be created without running its code."""
    return kind.__new__ is object.__new__ and not _is_wrapped(kind)


def _is_wrapped(kind: Any) -> bool:
    return kind.__module__.partition(".")[0] in _WRAPPERS
