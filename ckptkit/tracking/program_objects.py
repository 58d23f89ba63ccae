"""Finds all objects of a program before training, each with a path and its contents.

Later contents are compared with these, to find the attributes that training changes. The same
program has the same paths in every process.
"""

from __future__ import annotations

import functools
import operator
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ckptkit.compat import object_attributes, tf_checkpoint
from ckptkit.compat.keras_attributes import own_attributes
from ckptkit.tracking.object_classification import Skipped, Unsavable, classify
from ckptkit.tracking.object_kinds import (
    ARRAY,
    ASKED,
    BITS,
    CALLBACK,
    DICT,
    FUNCTION,
    MISSING,
    OBJECT,
    TRACKABLE,
    Kind,
    StateKind,
)
from ckptkit.tracking.plain_values import NOT_PLAIN, encode_plain
from ckptkit.tracking.reachable_objects import may_lead_on, tracked_children
from ckptkit.tracking.remembered_state import remembered

_ATTRIBUTES = (OBJECT, CALLBACK)


class Place(NamedTuple):
    """Where an object is.

    Args:
        path: the path from a root, equal in every process of the program.
        owner: the nearest object with a name for users.
        attribute: the path from there.
        quiet: whether the owner belongs to Keras, so that its attributes are not reported.
    """

    path: str
    owner: str
    attribute: str = ""
    quiet: bool = False

    def child(self, step: str) -> Place:
        """Return the place of an object that the object here contains.

        Args:
            step: `.name` or `[key]`.
        """
        return Place(self.path + step, self.owner, (self.attribute + step).lstrip("."), self.quiet)

    def words(self) -> str:
        """Return the place as text for messages."""
        return f'{self.owner}: attribute "{self.attribute}"' if self.attribute else self.owner


@dataclass(eq=False)
class ProgramObject:
    """An object of the program, with its contents before training.

    Args:
        place: the place where it was found first.
        kind: its kind, which reads its contents.
        get: returns the object, or None if an array was freed.
        before: its contents before training.
    """

    place: Place
    kind: Kind
    get: Callable[[], Any]
    before: Any
    count: int = -1

    def is_untouched(self, value: Any) -> bool:
        """Return whether the contents of an object are certainly unchanged; False says nothing.

        This runs before each save, for each object, while training waits.
        """
        if self.kind is ARRAY or isinstance(self.kind, StateKind):
            return False
        if self.kind.whole:
            now = self.kind.contents(value)
            return len(now) == len(self.before) and all(map(operator.is_, now, self.before))
        if self.count < 0:
            return False
        own = value.__dict__
        return len(own) == self.count and all(
            map(operator.is_, map(own.get, self.before), self.before.values())
        )


class ProgramObjects:
    """Finds the objects of a program, and remembers their contents.

    Attributes:
        by_path: the objects that were found.
        unsaved: the places of objects that cannot be saved, each with a description.
    """

    def __init__(self) -> None:
        self.by_path: dict[str, ProgramObject] = {}
        self.unsaved: dict[Place, str] = {}
        self._by_id: dict[int, ProgramObject] = {}
        self._kept: list[Any] = []
        """Objects that were passed, kept alive because an id must not be reused."""
        self._passed: set[int] = set()

    def find(self, value: Any) -> ProgramObject | None:
        """Return the record of an object, or None if it was created later."""
        found = self._by_id.get(id(value))
        return found if found is not None and found.get() is value else None

    def note(self, roots: Mapping[str, tuple[str, Any]]) -> None:
        """Record all objects of the program, with their contents.

        Args:
            roots: a description of each root and the root, by the first part of the paths.
        """
        self._walk([(Place(path, words), root, False) for path, (words, root) in roots.items()])

    def adopt(self, value: Any, place: Place) -> ProgramObject | None:
        """Record an object that Keras or TensorFlow creates later, as in a first call."""
        if is_made_late(value):
            self._walk([(place, value, False)])
        return self.find(value)

    def _walk(self, stack: list[tuple[Place, Any, bool]]) -> None:
        while stack:
            place, value, inner = stack.pop()
            if type(value) in _NEVER_LEAD or (inner and not _may_be_full(value)):
                continue
            if encode_plain(value) is not NOT_PLAIN or isinstance(value, tf.Tensor):
                continue
            if id(value) in self._passed or self.find(value) is not None:
                continue
            # A stack gives back the last child first.
            stack.extend(reversed(list(self._visit(place, value, inner))))

    def _visit(self, place: Place, value: Any, inner: bool) -> Iterator[tuple[Place, Any, bool]]:
        """Record one object, and yield the objects inside it."""
        passed = _passed_through(value)
        if passed is not None or (inner and isinstance(value, list | dict | set)):
            self._pass(value)
            for step, item in passed if passed is not None else _items(value):
                yield place.child(step), item, inner
            return
        kind = classify(value)
        if isinstance(kind, Unsavable):
            self._pass(value)
            if not place.quiet and not inner:
                self.unsaved[place] = kind.words
            return
        if isinstance(kind, Skipped):
            self._pass(value)
            return
        place = _named(place, value)
        if self._is_unsavable_whole(place, value, kind):
            return
        # What is always saved is read when it is: an iterator's state is large, or refused.
        always = isinstance(kind, StateKind) and kind.always
        contents = [] if always else kind.contents(value)
        self._add(place, value, kind, contents)
        yield from self._children(place, value, kind, contents)

    def _is_unsavable_whole(self, place: Place, value: Any, kind: Kind) -> bool:
        """Return whether a library's object contains a resource of the process."""
        words = held_resource(value, kind)
        if words is None:
            return False
        self._pass(value)
        if not place.quiet:
            self.unsaved[place] = words
        return True

    def _pass(self, value: Any) -> None:
        self._passed.add(id(value))
        self._kept.append(value)

    def _add(self, place: Place, value: Any, kind: Kind, contents: Any) -> None:
        if place.path in self.by_path:
            place = place.child(f"#{len(self.by_path)}")
        # An array is not kept alive: it may be large, and the program may replace it.
        get = weakref.ref(value) if kind is ARRAY else functools.partial(_same, value)
        before = remembered(contents) if isinstance(kind, StateKind) else contents
        noted = ProgramObject(place, kind, get, before)
        if kind in _ATTRIBUTES and not slots_of_program(value.__class__):
            noted.count = len(value.__dict__)
        self.by_path[place.path] = self._by_id[id(value)] = noted

    def _children(
        self, place: Place, value: Any, kind: Kind, contents: Any
    ) -> Iterator[tuple[Place, Any, bool]]:
        if isinstance(kind, StateKind):
            if kind is ASKED:
                return
            if kind is BITS:
                yield place.child(".seed_seq"), value.seed_seq, False
            return
        if isinstance(contents, dict):
            for name, item in contents.items():
                if item is not MISSING:
                    yield attribute_place(place, value, name), item, False
            steps = {}
        else:
            steps = dict(_items(value)) if kind is DICT else _numbered(contents)
        for step, item in steps.items():
            if item is not MISSING:
                yield place.child(step), item, False
        if kind in _ATTRIBUTES:
            yield from _hidden_children(place, value, contents)


def attribute_place(place: Place, value: Any, name: str) -> Place:
    """Return the place of an attribute, or of a variable in a function's closure.

    Args:
        place: where the object is.
        value: the object.
        name: as in the object's contents.
    """
    found = place.child(f".{name.lstrip('.')}")
    # A subclass of CSVLogger has an open file, which belongs to Keras.
    if isinstance(value, keras.callbacks.Callback) and name in own_attributes(value.__class__):
        return found._replace(quiet=True)
    return found


@functools.cache
def slots_of_program(kind: Any) -> bool:
    """Return whether objects of a class have attributes outside of their dictionary."""
    if not hasattr(kind, "__dict__") or kind.__dictoffset__ == 0:
        return True
    return any(name not in ("__dict__", "__weakref__") for name in object_attributes.slots_of(kind))


def _hidden_children(
    place: Place, value: Any, contents: Mapping[str, Any]
) -> Iterator[tuple[Place, Any, bool]]:
    """Yield the children of an object in private attributes of Keras and TensorFlow."""
    if isinstance(value, keras.callbacks.Callback):
        return
    for name, item in object_attributes.attributes(value):
        if name not in contents and (may_lead_on[type(item)] or _is_program_function(item)):
            yield place.child(f".{name}"), item, True
    if tf_checkpoint.is_trackable(value) and not isinstance(value, keras.Layer):
        for name, item in tracked_children(value):
            yield place.child(f".{name}"), item, True


def _is_program_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and classify(value) is FUNCTION


def is_made_late(value: Any) -> bool:
    """Return whether Keras and TensorFlow create an object when a model is first called.

    ckptkit cannot create such an object, but the same program creates it again at the same place.
    """
    return (
        isinstance(
            value,
            keras.Layer
            | keras.metrics.Metric
            | keras.losses.Loss
            | keras.optimizers.Optimizer
            | keras.Variable
            | tf.Variable
            | tf.Module,
        )
        or classify(value) is TRACKABLE
        or classify(value) is ASKED
    )


_NEVER_LEAD = frozenset({type(None), bool, int, float, str, bytes, complex})
_MAY_BE_EMPTY = frozenset({list, dict, set, tuple})


def _may_be_full(value: Any) -> bool:
    return type(value) not in _MAY_BE_EMPTY or bool(value)


def _same(value: Any) -> Any:
    return value


def _passed_through(value: Any) -> list[tuple[str, Any]] | None:
    """Return the children of an object that never changes, or None for other objects."""
    if isinstance(value, tuple | frozenset):
        return list(_numbered(value).items())
    if isinstance(value, functools.partial):
        return [(".func", value.func), (".args", value.args), (".keywords", value.keywords)]
    if isinstance(value, types.MethodType | types.BuiltinMethodType):
        return [(".__self__", value.__self__)]
    return None


def _numbered(items: Any) -> dict[str, Any]:
    return {f"[{index}]": item for index, item in enumerate(items)}


def _items(value: Any) -> list[tuple[str, Any]]:
    """Return the items of a container with their steps in the path."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    return list(_numbered(value).items())


def _named(place: Place, value: Any) -> Place:
    """Return a place that begins at an object with a name for users."""
    if isinstance(value, keras.Layer | keras.metrics.Metric) and place.attribute:
        kind = "metric" if isinstance(value, keras.metrics.Metric) else "layer"
        return Place(place.path, f"{kind} {value.name}")
    if isinstance(value, keras.callbacks.Callback):
        quiet = type(value).__module__.partition(".")[0] == "keras"
        return Place(place.path, place.owner, place.attribute, quiet)
    return place


# -- objects of libraries


@functools.cache
def _is_of_a_library(kind: Any) -> bool:
    """Return whether a class belongs to Python or an installed package, not to the program."""
    if kind.__module__.partition(".")[0] in ("keras", "tensorflow"):
        return False
    return object_attributes.is_installed(kind)


def held_resource(value: Any, kind: Kind) -> str | None:
    """Return a description of a library's object with a part that cannot be saved, or None.

    Without that part, its own methods would fail; so such an object is not saved at all.

    Args:
        value: the object.
        kind: its kind.
    """
    if kind is not OBJECT or not _is_of_a_library(value.__class__):
        return None
    resource = _first_resource(value)
    if resource is None:
        return None
    return f"a {type(value).__module__}.{type(value).__qualname__}, which contains {resource}"


def _first_resource(root: Any) -> str | None:
    """Return a description of the first part of a library's object that cannot be saved."""
    stack, seen = [root], dict[int, Any]()
    while stack and len(seen) < _MOST_OF_A_LIBRARY:
        value = stack.pop()
        if encode_plain(value) is not NOT_PLAIN or isinstance(value, tf.Tensor):
            continue
        if id(value) in seen:
            continue
        seen[id(value)] = value
        passed = _passed_through(value)
        if passed is not None:
            stack += [item for _, item in passed]
            continue
        kind = classify(value)
        if isinstance(kind, Unsavable):
            return kind.words
        if not isinstance(kind, Skipped | StateKind) and kind is not FUNCTION:
            contents = kind.contents(value)
            stack += list(contents.values() if isinstance(contents, dict) else contents)
    return None if len(seen) < _MOST_OF_A_LIBRARY else "too many objects to examine"


_MOST_OF_A_LIBRARY = 10_000
