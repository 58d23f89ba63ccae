"""Saves and restores attributes of Python objects that training changes, as one leaf.

Configuration and state look the same: both are attributes. They are distinguished by the value of
an attribute before training. If it has changed since, in this attempt or an earlier one, it is
state, which is saved and restored in place. If it never changed, it is configuration, and the
code's value counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ckptkit.errors import CorruptCheckpointError
from ckptkit.run.manifest import ATTRIBUTES
from ckptkit.tracking.leaves import Leaf, Tensors, first_line, no_garbage_collection
from ckptkit.tracking.moved_settings import MovedSettings, Record
from ckptkit.tracking.object_decoding import LEFT, ObjectDecoder
from ckptkit.tracking.object_encoding import ObjectEncoder
from ckptkit.tracking.object_kinds import (
    MISSING,
    VARIABLE,
    StateKind,
    tensorflow_variable,
    was_setting,
)
from ckptkit.tracking.program_objects import Place, ProgramObject, ProgramObjects
from ckptkit.tracking.remembered_state import Digest, same_state

VERSION = 1
"""The version of the form. A larger version means a format that this reader would misread."""

_NOTHING: frozenset[str] = frozenset()
_WHOLE = ""
"""The name that means "all contents of the object" in a set of changed names."""


class AttributeState:
    """The changed attributes of all objects that a run's state refers to.

    Args:
        inexact: called with a reason why the run cannot continue bit for bit.
        other_leaves: returns the leaves that already save objects of the program.

    Attributes:
        objects: what the program has made.
        settings: the settings of layers, optimizers and `compile` that training changes.
    """

    kind, path, trainable = "python", "attributes", None

    def __init__(
        self, inexact: Callable[[str], None], other_leaves: Callable[[], tuple[Leaf, ...]]
    ) -> None:
        self._inexact, self._other_leaves = inexact, other_leaves
        self.objects = ProgramObjects()
        self.settings = MovedSettings(self.objects)
        self._moved: dict[str, set[str]] = {}
        self._loaded: Mapping[str, tf.Tensor] | None = None
        self._roots: list[str] = []
        self.key = ""
        self._scanned: list[ProgramObject] = []
        self._scanned_for = (0, 0)
        self._kept: tuple[Leaf, ...] = ()

    def leaf(self, name: str) -> Leaf:
        """Return this state as a leaf.

        Args:
            name: the name of the entry of the state, the first part of the key.
        """
        self.key = f"{name}/{ATTRIBUTES}/0"
        return self

    def note(self, roots: Mapping[str, tuple[str, Any]]) -> None:
        """Remember the objects of the program, before training or a restore changes them.

        Args:
            roots: see `ProgramObjects.note`.
        """
        self._roots += [f"{root}{follows}" for root in roots for follows in ".["]
        with no_garbage_collection():
            self.objects.note(roots)
            self.settings.note()

    def report(self) -> None:
        """Report each attribute that cannot be saved, once.

        Raises:
            ConfigError: If exactness is required.
        """
        for place, words in self.objects.unsaved.items():
            self._report(place, words)

    def _report(self, place: Place, words: str) -> None:
        if not place.quiet:
            self._inexact(f"not saved: {place.words()} ({words})")

    # -- saving

    def capture(self) -> Tensors:
        """Return all changed attributes, as JSON and tensors."""
        encoder = ObjectEncoder(self.objects, self._report)
        found: dict[str, Any] = {}
        # A copy: objects that Keras makes late are added while their owner is encoded.
        for each in list(self._to_save()):
            value = each.get()
            if value is not None:
                form = self._moved_of(each, value, encoder)
                if form is not None:
                    found[each.place.path] = {"kind": each.kind.name, "contents": form}
        document, tensors = encoder.document(found)
        text = json.dumps(
            {"version": VERSION, "settings": self.settings.now(), **document},
            separators=(",", ":"),
        )
        values = {"": tf.constant(text)}
        return values | {f"arrays/{index}": tensor for index, tensor in enumerate(tensors)}

    def _to_save(self) -> Iterable[ProgramObject]:
        """Return the program's objects that no other leaf saves."""
        leaves, objects = self._other_leaves(), self.objects.by_path
        if self._scanned_for != (id(leaves), len(objects)):
            elsewhere = _ids_of(leaves)
            self._scanned = [each for each in objects.values() if _identity(each) not in elsewhere]
            self._scanned_for, self._kept = (id(leaves), len(objects)), leaves
        return self._scanned

    def _moved_of(self, each: ProgramObject, value: Any, encoder: ObjectEncoder) -> Any:
        """Return the encoded changes of an object, or None."""
        moved = self._moved.get(each.place.path, _NOTHING)
        if not moved and each.is_untouched(value):
            return None
        try:
            contents = each.kind.contents(value)
        except (tf.errors.OpError, NotImplementedError) as error:
            self._report(each.place, f"TensorFlow cannot save it: {first_line(error)}")
            return None
        if isinstance(each.kind, StateKind):
            has_moved = bool(moved) or each.kind.always
            if not has_moved and same_state(each.before[0], contents[0]):
                return None
        elif isinstance(contents, list):
            if not moved and not self._differ(each.place, each.before, contents):
                return None
        else:
            return self._moved_attributes(each, value, contents, moved, encoder)
        self._moved.setdefault(each.place.path, set()).add(_WHOLE)
        return encoder.contents(each.place, value, each.kind, contents)

    def _moved_attributes(
        self,
        each: ProgramObject,
        value: Any,
        contents: Any,
        moved: Iterable[str],
        encoder: ObjectEncoder,
    ) -> Any:
        names = {
            name
            for name in (*contents, *_gone(value, each.before, contents))
            if contents.get(name, MISSING) is not each.before.get(name, MISSING)
        }
        if not names and not moved:
            return None
        now = {
            name
            for name in names
            if name in moved
            or self._differ(
                each.place.child(f".{name.lstrip('.')}"),
                [each.before.get(name, MISSING)],
                [contents.get(name, MISSING)],
            )
        }
        if not now and not moved:
            return None
        self._moved.setdefault(each.place.path, set()).update(now)
        chosen = {name: contents.get(name, MISSING) for name in sorted({*moved, *now})}
        return encoder.contents(each.place, value, each.kind, chosen)

    def _differ(self, place: Place, before: list[Any], now: list[Any]) -> bool:
        """Return whether contents differ in more than their ids."""
        if len(before) != len(now):
            return True
        scratch = ObjectEncoder(self.objects, lambda place, words: None)
        return any(
            a is not b and scratch.form(a, place) != scratch.form(b, place)
            for a, b in zip(before, now, strict=True)
        )

    # -- restoring

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Assign the result of `capture` to the program's objects."""
        self._loaded = tensors
        self.restore({})

    def restore(self, renamed: Mapping[str, str]) -> None:
        """Assign the restored attributes to the program's objects once more.

        Args:
            renamed: the current first part of each path, by the first part in the checkpoint.
        """
        if self._loaded is None:
            return
        document, arrays = _read(self._loaded)
        lost: list[str] = []
        classes = {
            f"{type(value).__module__}:{type(value).__qualname__}": type(value)
            for each in self.objects.by_path.values()
            if (value := each.get()) is not None
        }

        def at(path: str) -> Any:
            return self.objects.by_path[_renamed(path, renamed)].get()

        decoder = ObjectDecoder(document, arrays, at, classes)
        fills = []
        restored: dict[str, set[str]] = {}
        elsewhere = _ids_of(self._other_leaves())
        for path, saved in document["objects"].items():
            each = self.objects.by_path.get(_renamed(path, renamed))
            value = each.get() if each is not None else None
            if each is None or value is None or each.kind.name != saved["kind"]:
                lost.append(_renamed(path, renamed))
                continue
            if _identity(each) in elsewhere:
                # Here stood an object that training has replaced, as `compile` does with metrics
                # and the optimizer. The leaf of the later one has restored its value.
                continue
            live = None if isinstance(each.kind, StateKind) else each.kind.contents(value)
            contents = decoder.contents(each.kind, saved["contents"], live)
            if isinstance(contents, dict):
                contents = {name: item for name, item in contents.items() if item is not LEFT}
            restored[each.place.path] = set(contents) if isinstance(contents, dict) else {_WHOLE}
            fills.append((each, value, contents))
        decoder.fill_created()
        self._reset(restored)
        # Objects first, because sets and dictionaries use their hashes.
        fills.sort(
            key=lambda fill: (fill[0].kind.name in ("set", "dict"), fill[0].kind.name == "asked")
        )
        for each, value, contents in fills:
            each.kind.fill(value, contents)
        self._moved = restored
        self._report_lost([*lost, *decoder.lost])

    def _report_lost(self, lost: Iterable[str]) -> None:
        """Report saved attributes for which the program has no object."""
        for what in lost:
            # A callback is noted when training begins, after the first restore.
            if any(what.startswith(root) for root in self._roots):
                self._inexact(
                    f"the saved attributes of {what} are not restored, because the program has no "
                    f"such object there now"
                )

    def has_loaded(self, root: str) -> bool:
        """Return whether the restored checkpoint has attributes of a root.

        Args:
            root: the first part of the paths.
        """
        if self._loaded is None:
            return False
        document, _ = _read(self._loaded)
        return any(_renamed(path, {root: ""}) != path for path in document["objects"])

    def _reset(self, restored: Mapping[str, set[str]]) -> None:
        """Undo changes in this process to attributes that the checkpoint does not contain.

        A resume in `fit` runs one step and discards its result, but the step runs code of the
        program.
        """
        for each in self._to_save():
            value = each.get()
            if value is None or getattr(each.kind, "always", False):
                continue
            names = restored.get(each.place.path, _NOTHING)
            now = each.kind.contents(value)
            if isinstance(now, dict):
                back = {
                    name: each.before.get(name, MISSING)
                    for name in (*now, *_gone(value, each.before, now))
                    if name not in names
                    and now.get(name, MISSING) is not each.before.get(name, MISSING)
                }
                if back:
                    each.kind.fill(value, back)
            elif not (
                names
                or self._is_as_made(each, now)
                or any(isinstance(state, Digest) for state in each.before)
            ):
                each.kind.fill(value, each.before)

    def _is_as_made(self, each: ProgramObject, now: list[Any]) -> bool:
        if isinstance(each.kind, StateKind):
            return same_state(each.before[0], now[0])
        return _identical(each.before, now)


def _gone(value: Any, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of attributes that an object does not have any more."""
    return [name for name in before if name not in now and not was_setting(value, name)]


def _identity(each: ProgramObject) -> int:
    value = each.get()
    return id(tensorflow_variable(value) if each.kind is VARIABLE else value)


def _ids_of(leaves: Iterable[Leaf]) -> set[int]:
    """Return the ids of the objects that leaves save."""
    found = [
        getattr(leaf, name, None) for leaf in leaves for name in ("variable", "trackable", "source")
    ]
    # The state of a NumPy Generator is in its bit generator.
    found += [each.bit_generator for each in found if isinstance(each, np.random.Generator)]
    return {id(each) for each in found if each is not None}


def _identical(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _renamed(path: str, renamed: Mapping[str, str]) -> str:
    for then, now in renamed.items():
        if path == then or path.startswith((f"{then}.", f"{then}[")):
            return now + path[len(then) :]
    return path


def _read(tensors: Mapping[str, tf.Tensor]) -> tuple[dict[str, Any], list[tf.Tensor]]:
    """Return the JSON document of a checkpoint, and its tensors.

    Raises:
        CorruptCheckpointError: If a part is missing or damaged.
    """
    try:
        arrays = [tensors[f"arrays/{index}"] for index in range(len(tensors) - 1)]
        return json.loads(tensors[""].numpy()), arrays
    except (KeyError, AttributeError, ValueError) as error:
        raise CorruptCheckpointError("The saved attributes are incomplete.") from error


def moved_attributes(text: tf.Tensor) -> set[str]:
    """Return the names of the attributes that have moved, of all objects of a checkpoint.

    Args:
        text: the tensor under the key of the leaf.
    """
    document, _ = _read({"": text})
    return {
        name
        for saved in document["objects"].values()
        if saved["kind"] == "object"
        for name in saved["contents"]
    }


def moved_settings(text: tf.Tensor) -> Record:
    """Return the settings that training has changed, from a checkpoint.

    Args:
        text: the tensor under the key of the leaf.
    """
    document, _ = _read({"": text})
    found: Record = document.get("settings", {})
    return found
