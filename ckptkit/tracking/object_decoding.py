"""Decodes the contents of Python objects from JSON and tensors; see `object_encoding`.

It imports nothing and runs no constructor of the user's classes.
"""

from __future__ import annotations

import array
import collections
import functools
import io
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ckptkit.tracking import python_state
from ckptkit.tracking.array_pools import PooledArrays
from ckptkit.tracking.object_classification import Skipped, Unsavable, classify
from ckptkit.tracking.object_kinds import DICT, MISSING, SET, Kind, StateKind
from ckptkit.tracking.plain_values import decode_plain, global_object

LEFT = object()
"""The value that means "nothing was saved": the program's value stays."""


class ObjectDecoder:
    """Decodes one document.

    Args:
        document: the result of `ObjectEncoder.document`.
        tensors: the tensors that it refers to.
        at: returns the program's object at a path; raises KeyError if there is none.
        classes: the classes of the program's objects by name, for classes that are in no module.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        tensors: Sequence[tf.Tensor],
        at: Callable[[str], Any],
        classes: Mapping[str, type],
    ) -> None:
        self._at, self._classes = at, classes
        self._tensors = tensors[: document["tensors"]]
        self._arrays = PooledArrays(document["pools"], tensors[document["tensors"] :])
        self._created = document["created"]
        self.lost: list[str] = []
        self._made: list[Any] = []
        self._made = [self._make(described) for described in self._created]

    def fill_created(self) -> None:
        """Fill all objects that training had created."""
        # Objects first, because sets and dictionaries ask for their hashes.
        order = ["object", "list", "object array"]
        pairs = list(zip(self._created, self._made, strict=True))
        pairs.sort(key=lambda pair: pair[0]["kind"] not in order)
        for described, value in pairs:
            if value is LEFT or described["kind"] == "generator":
                continue
            kind = classify(value)
            assert not isinstance(kind, Unsavable | Skipped)
            contents = self.contents(kind, described["contents"], None)
            kind.fill(value, _without_gaps(contents))

    def _make(self, described: Mapping[str, Any]) -> Any:
        kind = described["kind"]
        try:
            if kind == "generator":
                return LEFT  # made when it is referred to: its bits must exist first
            if kind == "object array":
                return np.empty(described["shape"], object)
            if "maxlen" in described:
                return collections.deque(maxlen=described["maxlen"])
            if kind in ("list", "dict", "set"):
                return self._container(described)
            if kind == "object":
                found = self._class(described["class"])
                return object.__new__(found)
            return _MAKERS[kind](described)
        except (ValueError, TypeError) as error:
            self.lost.append(str(error))
            return LEFT

    def _container(self, described: Mapping[str, Any]) -> Any:
        if "factory" in described:
            return collections.defaultdict(self.value(described["factory"]))
        plain: dict[str, Any] = {"list": list, "dict": dict, "set": set}
        base = plain[described["kind"]]
        if "class" not in described:
            return base()
        found = self._class(described["class"])
        return base.__new__(found) if found is not collections.OrderedDict else found()

    def _class(self, name: str) -> Any:
        found = self._classes.get(name) or global_object(name)
        if not isinstance(found, type):
            raise ValueError(f"{name} is not a class")
        return found

    # -- contents

    def contents(self, kind: Kind, form: Any, live: Any) -> Any:
        """Decode the contents of one object from their form in the checkpoint.

        Args:
            kind: what sort of object it is, such as a list or a dictionary.
            form: the contents as the checkpoint stores them, in JSON.
            live: the present contents of the program's object; None if the object is new. A list
                or dictionary keeps each of these values that was not saved.

        Returns:
            A list, or a dictionary by attribute name for a kind that saves attributes separately.
        """
        if isinstance(kind, StateKind):
            return [self._state(form)]
        if not kind.whole:
            return {name: self.value(item) for name, item in form.items()}
        items, live = self._sequence(form), live or []
        if kind is DICT:
            return _pairs_without_gaps(items, live)
        if kind is SET:
            return [item for item in items if item is not LEFT]
        # The items of a list have places, so that a gap is filled.
        return [
            (live[index] if index < len(live) else None) if item is LEFT else item
            for index, item in enumerate(items)
        ]

    def _state(self, form: Mapping[str, Any]) -> Any:
        if "row" in form:
            return self._arrays.row(*form["row"])
        if "tensor" in form:
            return self._tensors[form["tensor"]]
        if "tensors" in form:
            return {name: self._tensors[index] for name, index in form["tensors"].items()}
        arrays = [self._arrays.row(*place) for place in form["arrays"]]
        return python_state.decode(form["text"], arrays, "an attribute")

    def _sequence(self, form: Any) -> list[Any]:
        if isinstance(form, list):
            return [self.value(item) for item in form]
        ((mark, inner),) = form.items()
        if mark == "numbers":
            return self._arrays.row(*inner).tolist()  # type: ignore[no-any-return]
        if mark == "scalars":
            return list(self._arrays.row(*inner))
        if mark == "rows":
            return [self._arrays.row(*place) for place in self._arrays.row(*inner).tolist()]
        return list(zip(*map(self._sequence, inner), strict=True))

    # -- values

    def value(self, form: Any) -> Any:
        """Return the value of a form, or `LEFT`."""
        if not isinstance(form, dict):
            return form
        ((mark, inner),) = form.items()
        decode = self._MARKS.get(mark)
        return decode(self, inner) if decode is not None else decode_plain(mark, inner)

    def _reference(self, path: str) -> Any:
        try:
            return self._at(path)
        except KeyError:
            self.lost.append(path)
            return LEFT

    def _new(self, number: int) -> Any:
        described = self._created[number]
        if described["kind"] == "generator" and self._made[number] is LEFT:
            (bits,) = self._sequence(described["contents"])
            self._made[number] = np.random.Generator(bits)
        return self._made[number]

    def _global(self, name: str) -> Any:
        try:
            return self._classes.get(name) or global_object(name)
        except ValueError as error:
            self.lost.append(str(error))
            return LEFT

    def _composite(self, inner: Sequence[Any]) -> Any:
        kind, parts = inner[0], [self._tensors[index] for index in inner[1]]
        if kind == "ragged":
            return tf.RaggedTensor.from_nested_row_splits(parts[0], parts[1:])
        return (tf.SparseTensor if kind == "sparse" else tf.IndexedSlices)(*parts)

    def _partial(self, inner: Sequence[Any]) -> Any:
        function, arguments, keywords = (self.value(part) for part in inner)
        if LEFT in (function, arguments, keywords):
            return LEFT
        return functools.partial(function, *arguments, **dict(keywords))

    def _method(self, inner: Sequence[Any]) -> Any:
        owner = self.value(inner[0])
        return LEFT if owner is LEFT else getattr(owner, inner[1])

    def _tuple(self, inner: Sequence[Any]) -> Any:
        items = [self.value(item) for item in inner]
        return LEFT if any(item is LEFT for item in items) else tuple(items)

    def _named(self, inner: Sequence[Any]) -> Any:
        items = self._tuple(inner[1])
        return LEFT if items is LEFT else self._class(inner[0])(*items)

    def _frozenset(self, inner: Sequence[Any]) -> Any:
        items = self._tuple(inner)
        return LEFT if items is LEFT else frozenset(items)

    _MARKS: Mapping[str, Callable[[ObjectDecoder, Any], Any]] = {
        "__at__": _reference,
        "__new__": _new,
        "__row__": lambda self, inner: self._arrays.row(*inner),
        "__global__": _global,
        "__composite__": _composite,
        "__tensor__": lambda self, inner: self._tensors[inner],
        "__partial__": _partial,
        "__method__": _method,
        "__tuple__": _tuple,
        "__named__": _named,
        "__frozenset__": _frozenset,
        "__missing__": lambda self, inner: MISSING,
        "__lost__": lambda self, inner: LEFT,
        "__skipped__": lambda self, inner: LEFT,
    }


def _pairs_without_gaps(items: Sequence[Any], live: Sequence[Any]) -> list[Any]:
    """Return the keys and values of a dictionary, without values that were not saved.

    The program's value of such a key stays, if it has one.
    """
    current = dict(zip(live[::2], live[1::2], strict=True))
    found = []
    for key, item in zip(items[::2], items[1::2], strict=True):
        if key is not LEFT and item is LEFT:
            item = current.get(key, LEFT)
        if key is not LEFT and item is not LEFT:
            found += [key, item]
    return found


def _without_gaps(contents: Any) -> Any:
    if isinstance(contents, dict):
        return {name: item for name, item in contents.items() if item is not LEFT}
    return contents


_MAKERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "bits": lambda described: getattr(np.random, described["class"])(),
    "buffer": lambda described: (
        array.array(described["code"]) if described["code"] else bytearray()
    ),
    "random": lambda described: random.Random(),
    "random state": lambda described: np.random.RandomState(),
    "stream": lambda described: io.StringIO() if described["class"] == "StringIO" else io.BytesIO(),
}
