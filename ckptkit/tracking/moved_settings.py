"""Saves and restores settings of layers, optimizers and `compile` that training itself changes.

A callback may enable LoRA, quantize a layer, or call `compile` with other weights of the losses.
The same is done to the objects of a later process, before a step is traced and values are assigned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras

from ckptkit.compat import keras_structure
from ckptkit.compat.keras_structure import LORA, POLICY
from ckptkit.errors import IncompatibleStateError
from ckptkit.printable_text import sentence
from ckptkit.tracking.program_objects import ProgramObjects
from ckptkit.tracking.setting_forms import (
    NotRestorableError,
    setting_form,
    setting_value,
    setting_words,
)

Record = dict[str, dict[str, Any]]
"""Settings as JSON, by the path of their object and by name."""

_BUILT_FIRST = "built before"
"""The name under which a record says that the optimizer was built before layers changed."""

_COMPILE, _OPTIMIZER = "#compile", "#optimizer"


@dataclass(frozen=True)
class _Part:
    """Something with settings.

    Args:
        path: where it is, equal in every process of the program.
        name: its name in messages.
        target: the object.
        read: returns its settings.
    """

    path: str
    name: str
    target: Any
    read: Callable[[Any], dict[str, Any]]


class MovedSettings:
    """The settings that training has changed since the program made its objects.

    Args:
        objects: what the program has made.
    """

    def __init__(self, objects: ProgramObjects) -> None:
        self._objects = objects
        self._before: dict[str, dict[str, Any]] = {}
        self._given: dict[str, dict[str, Any]] = {}
        self._moved: dict[str, set[str]] = {}
        self._listed: list[tuple[str, Any]] = []
        self._listed_of = -1

    def note(self) -> None:
        """Remember the settings before training, of the objects that are new since the last call.

        The values are kept themselves: an object of the program is not copied, and comparing is
        fast.
        """
        for part in self._parts():
            self._note(part)

    def _note(self, part: _Part) -> None:
        # Building a layer sets some of its settings.
        if not _is_layer(part) or part.target.built:
            self._before.setdefault(part.path, part.read(part.target))

    def now(self) -> Record:
        """Return the current values of the settings that have changed since `note`."""
        found: Record = {}
        for part in self._parts():
            before = self._before.get(part.path)
            if before is None:
                self._note(part)
                continue
            moved = self._moved_of(part, before, current := part.read(part.target))
            if moved:
                found[part.path] = {name: setting_form(current.get(name)) for name in moved}
        if any(values.keys() & {LORA, POLICY} for values in found.values()):
            for part in self._parts():
                if isinstance(part.target, keras.Model) and part.path.endswith(_COMPILE):
                    built_first = keras_structure.trains_replaced_weights(part.target)
                    found.setdefault(part.path, {})[_BUILT_FIRST] = built_first
        return found

    def _moved_of(
        self, part: _Part, before: Mapping[str, Any], current: Mapping[str, Any]
    ) -> list[str]:
        moved = self._moved.get(part.path, set())
        # Almost always nothing has changed, and this runs for each layer while training waits.
        if len(before) == len(current) and all(
            name in before and before[name] is value for name, value in current.items()
        ):
            return sorted(moved)
        for name in current.keys() | before.keys():
            a, b = before.get(name), current.get(name)
            if a is b or name in moved:
                continue
            form = setting_form(b)
            if setting_form(a) != form or _is_named_only(form):
                moved.add(name)
        if moved:
            self._moved[part.path] = moved
        return sorted(moved)

    def apply(self, record: Record, *, code_counts: frozenset[str] = frozenset()) -> list[str]:
        """Change the program's objects as training had changed them.

        Args:
            record: the result of `now`.
            code_counts: names of arguments of optimizers for which the user has chosen the code's
                value.

        Returns:
            A reason for each setting that cannot be restored.

        Raises:
            IncompatibleStateError: If a layer cannot be changed in the same way.
        """
        parts = {part.path: part for part in self._parts()}
        lost = []
        changes: list[tuple[_Part, dict[str, Any]]] = []
        for path, forms in record.items():
            part = parts.get(path)
            if part is None:
                lost += [
                    _lost(path, name, form, "the program has no such object now")
                    for name, form in forms.items()
                    if name != _BUILT_FIRST
                ]
                continue
            values, why = self._to_change(part, forms, code_counts)
            lost += why
            if values:
                changes.append((part, values))
                self._given.setdefault(path, {}).update(values)
        self._change(changes, record, parts)
        return lost

    def _to_change(
        self, part: _Part, forms: Mapping[str, Any], code_counts: frozenset[str]
    ) -> tuple[dict[str, Any], list[str]]:
        """Return the settings of an object that have to change, and why others cannot be."""
        current, values, lost = part.read(part.target), {}, []
        for name, form in forms.items():
            if name == _BUILT_FIRST or (_OPTIMIZER in part.path and name in code_counts):
                continue
            self._moved.setdefault(part.path, set()).add(name)
            if not _is_named_only(form) and setting_form(current.get(name)) == form:
                continue
            try:
                values[name] = setting_value(form)
            except NotRestorableError:
                if not (_is_named_only(form) and name in current and self._is_replaced(part, name)):
                    lost.append(
                        _lost(part.name, name, form, "only the program can make such an object")
                    )
                continue
            if name == LORA and values[name] is not None and current.get(LORA):
                lost.append(_lost(part.name, name, form, f"the program has {current[LORA]}"))
                del values[name]
        return values, lost

    def _is_replaced(self, part: _Part, name: str) -> bool:
        """Return whether the program has replaced an object again, as a callback in its epoch."""
        current = part.read(part.target).get(name)
        known = (self._before.get(part.path, {}), self._given.get(part.path, {}))
        return not any(current is each.get(name) for each in known)

    def _change(
        self,
        changes: list[tuple[_Part, dict[str, Any]]],
        record: Record,
        parts: Mapping[str, _Part],
    ) -> None:
        structural = [(part, values) for part, values in changes if {LORA, POLICY} & values.keys()]
        if any(values.keys() & {LORA} or _quantizes(values) for _, values in structural):
            self._prepare_optimizers(record, parts, structural)
        for part, values in changes:
            if part.path.endswith(_COMPILE):
                keras_structure.set_compile_arguments(part.target, values)
            elif _is_layer(part):
                _change_layer(part, values)
            else:
                for name, value in values.items():
                    setattr(part.target, name, value)

    def _prepare_optimizers(
        self,
        record: Record,
        parts: Mapping[str, _Part],
        structural: list[tuple[_Part, dict[str, Any]]],
    ) -> None:
        """Build optimizers before or after layers change, as they were in the run."""
        for path, forms in record.items():
            if _BUILT_FIRST not in forms or path not in parts:
                continue
            model = parts[path].target
            if forms[_BUILT_FIRST] and not model.optimizer.built:
                keras_structure.build_optimizer(model)
            elif not forms[_BUILT_FIRST] and model.optimizer.built:
                part, values = structural[0]
                raise IncompatibleStateError(
                    f"Training has changed layers of this run: {part.name} had "
                    f"{_words(values)}. After that its optimizer was made anew, but the optimizer "
                    "in the program is already built for the layers as they were. Nothing was "
                    "assigned. Change the layers in the program before its optimizer is built, or "
                    "do not build the optimizer before."
                )

    def repeats_allowed(self) -> AbstractContextManager[None]:
        """Return a context in which callbacks may repeat what they have done to layers."""
        parts = [part for part in self._parts() if part.path in self._moved]
        return keras_structure.repeated_changes_allowed(
            part.target for part in parts if _is_layer(part)
        )

    def _parts(self) -> Iterator[_Part]:
        """Yield everything with settings that the program has now."""
        by_path = self._objects.by_path
        if self._listed_of != len(by_path):
            self._listed = [
                (path, value)
                for path, each in by_path.items()
                if isinstance(value := each.get(), keras.Layer | keras.optimizers.Optimizer)
            ]
            self._listed_of = len(by_path)
        compiled: list[str] = []
        for path, value in self._listed:
            if isinstance(value, keras.Layer):
                yield _Part(path, f"layer {value.name!r}", value, keras_structure.structure_of)
            if isinstance(value, keras.Model) and getattr(value, "optimizer", None) is not None:
                compiled.append(f"{path}.optimizer")
                arguments = keras_structure.compile_arguments
                yield _Part(f"{path}{_COMPILE}", f"model {value.name!r}", value, arguments)
                yield from _optimizer_parts(f"{path}{_OPTIMIZER}", value.optimizer)
        for path, value in self._listed:
            if isinstance(value, keras.optimizers.Optimizer) and not any(
                path == own or path.startswith(f"{own}.") for own in compiled
            ):
                yield from _optimizer_parts(f"{path}{_OPTIMIZER}", value)


def _optimizer_parts(path: str, optimizer: Any) -> Iterator[_Part]:
    inner = getattr(optimizer, "inner_optimizer", None)
    for each in (optimizer, inner):
        if each is not None:
            at = f"{path}.inner" if each is inner else path
            yield _Part(at, "the optimizer", each, keras_structure.optimizer_arguments)


def _is_layer(part: _Part) -> bool:
    return isinstance(part.target, keras.Layer) and not part.path.endswith(_COMPILE)


def _quantizes(values: Mapping[str, Any]) -> bool:
    return getattr(values.get(POLICY), "quantization_mode", None) is not None


def _change_layer(part: _Part, values: dict[str, Any]) -> None:
    try:
        keras_structure.change_structure(part.target, values)
    # Keras raises different errors: a layer is not built, or cannot be changed in this way.
    except Exception as error:
        raise IncompatibleStateError(
            f"Training has changed {part.name} of this run: it had {_words(values)}. The same "
            f"cannot be done to the layer in the program: {sentence(error)} Nothing was assigned. "
            "Build the model before training (with keras.Input), or change the layer in the "
            "program."
        ) from error


def _is_named_only(form: Any) -> bool:
    return isinstance(form, Mapping) and "__object__" in form


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"LoRA of rank {value[0]}"
        if name == LORA
        else f"{name} {setting_words(setting_form(value))}"
        for name, value in values.items()
    )


def _lost(owner: str, name: str, form: Any, why: str) -> str:
    return (
        f"training has changed {name} of {owner} to {setting_words(form)}, which is not restored: "
        f"{why}"
    )
