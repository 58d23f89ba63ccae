"""Saves and restores the state of other callbacks, such as patience, best values and history."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from ckptkit.errors import ConfigError
from ckptkit.tracking import python_state

_NOT_STATE = frozenset(
    {"model", "_model", "params", "_params", "validation_data", "monitor_op", "min_delta"}
)
"""Attributes that are not state: Keras sets them from arguments of the callback or of `fit`."""

_MEANING = ("monitor", "mode")
"""The arguments that define the meaning of a callback's saved values.

Other arguments, such as paths and switches, may change between attempts.
"""


class CallbackStates:
    """Collects the attributes that training changes in callbacks, and restores them.

    The methods `get_state()`/`set_state(state)` or `state_dict()`/`load_state_dict(state)` are used
    if a callback has them. Otherwise its plain attributes are saved, but only those that training
    has changed. So attributes that the code configures keep the value of the code.

    Args:
        callbacks: the callbacks of one `fit`, without `CheckpointCallback`.
    """

    def __init__(self, callbacks: Iterable[Any]) -> None:
        counts: dict[str, int] = {}
        self._callbacks: dict[str, Any] = {}
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.ProgbarLogger):
                continue
            name = type(callback).__name__
            self._callbacks[f"{name}#{counts.get(name, 0)}"] = callback
            counts[name] = counts.get(name, 0) + 1
        self._before = {name: _plain(callback) for name, callback in self._callbacks.items()}
        self._objects = {
            name: dict(vars(callback))
            for name, callback in self._callbacks.items()
            if not _is_of_keras(type(callback))
        }
        self.configured = {
            name: {
                attribute: value
                for attribute, value in vars(callback).items()
                if isinstance(value, str | bool) and attribute not in _NOT_STATE
            }
            for name, callback in self._callbacks.items()
        }
        """The strings and booleans that the code gave each callback, which identify it later."""

    def get(self) -> dict[str, Any]:
        """Return the attributes of each callback that training has changed."""
        return {name: self._get_one(name, callback) for name, callback in self._callbacks.items()}

    def _get_one(self, name: str, callback: Any) -> Any:
        getter = _method(callback, "get_state", "state_dict")
        if getter is not None:
            return getter()
        before = self._before[name]
        return {
            attribute: getattr(callback, attribute)
            for attribute, text in _plain(callback).items()
            if before.get(attribute) != text
        }

    def left_out(self) -> list[str]:
        """Return a sentence for each change to a user's callback that cannot be saved."""
        found = []
        for name, objects in self._objects.items():
            callback = self._callbacks[name]
            if _method(callback, "get_state", "state_dict") is not None:
                continue
            plain, used_by_keras = _plain(callback), _names_in_keras(type(callback))
            changed = [
                attribute
                for attribute, value in vars(callback).items()
                if attribute not in plain
                and attribute not in _NOT_STATE
                and attribute not in used_by_keras
                and (
                    attribute in self._before[name] or objects.get(attribute, objects) is not value
                )
            ]
            if changed:
                found.append(
                    f"{', '.join(changed)} of the callback {type(callback).__name__}, which "
                    "training has changed, is not a plain value and is not saved. Give the "
                    "callback get_state() and set_state(state), which return and take plain values"
                )
        return found

    def set(self, states: Mapping[str, Any], configured: Mapping[str, Any]) -> list[str]:
        """Restore the attributes of callbacks that `get` returned.

        Args:
            states: the states, by callback.
            configured: the configurations of these callbacks; empty if an older version saved them.

        Returns:
            A sentence for each saved state that matches no callback.
        """
        owners = self._owners(states, configured)
        for name, state in states.items():
            callback = self._callbacks.get(owners.get(name, ""))
            setter = _method(callback, "set_state", "load_state_dict")
            if setter is not None:
                setter(state)
            elif callback is not None and isinstance(state, dict):
                for attribute, value in state.items():
                    setattr(callback, attribute, value)
        free = self._callbacks.keys() - owners.values()
        return [
            _lost_state(
                name,
                configured.get(name, {}),
                [self.configured[other] for other in sorted(free) if _class(other) == _class(name)],
            )
            for name, state in states.items()
            if name not in owners and state
        ]

    def _owners(self, states: Iterable[str], configured: Mapping[str, Any]) -> dict[str, str]:
        """Return for each saved state the callback that gets it, by name.

        That is the callback with the same configuration, at any position in the list. Otherwise it
        is a callback of the same class for which the saved values have the same meaning; the one
        with the same number is preferred.
        """
        owners: dict[str, str] = {}
        for alike in (
            lambda then, now: then == now,
            lambda then, now: all(
                then.get(what) == now.get(what) for what in _MEANING if what in then
            ),
        ):
            for name in [name for name in states if name not in owners]:
                free = [
                    other
                    for other in self._callbacks
                    if _class(other) == _class(name)
                    and other not in owners.values()
                    and alike(configured.get(name, {}), self.configured[other])
                ]
                if free:
                    owners[name] = name if name in free else free[0]
        return owners


def _class(name: str) -> str:
    return name.partition("#")[0]


def _lost_state(name: str, then: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str:
    def spelled(configured: Mapping[str, Any]) -> str:
        return ", ".join(f"{what}={configured[what]!r}" for what in _MEANING if what in configured)

    had = f" ({spelled(then)})" if spelled(then) else ""
    has = " or ".join(spelled(other) for other in others)
    why = f"its only counterpart has {has} now" if has else "it is not among the callbacks now"
    return f"the saved state of the callback {_class(name)}{had} is not restored, because {why}"


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"


def _names_in_keras(cls: type) -> set[str]:
    """Return the attribute names that Keras' own base classes of a callback use.

    Attributes with these names belong to Keras, even in a user's subclass.
    """
    codes = [
        function.__code__
        for each in cls.__mro__
        if _is_of_keras(each)
        for function in vars(each).values()
        if isinstance(function, types.FunctionType)
    ]
    return {name for code in codes for name in code.co_names}


def _method(callback: Any, *names: str) -> Any:
    return next(
        (getattr(callback, name) for name in names if callable(getattr(callback, name, None))), None
    )


def _plain(callback: Any) -> dict[str, tuple[str, list[bytes]]]:
    """Return the attributes with plain values, in a form that can be saved and compared."""
    found = {}
    for name, value in vars(callback).items():
        if name in _NOT_STATE:
            continue
        try:
            text, arrays = python_state.encode(value, name)
        except ConfigError:
            continue
        found[name] = (text, [array.tobytes() for array in arrays])
    return found
