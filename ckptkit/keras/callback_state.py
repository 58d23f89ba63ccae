"""Saves and restores the state of other callbacks, such as patience, best values and history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from ckptkit.tracking.attribute_state import AttributeState
from ckptkit.tracking.object_kinds import CALLBACK_ARGUMENTS, asked_methods

_MEANING = ("monitor", "mode")
"""The arguments that define the meaning of a callback's saved values.

Other arguments, such as paths and switches, may change between attempts.
"""


class CallbackStates:
    """Identifies the other callbacks of a `fit` in a checkpoint, and restores their state.

    A callback with `get_state()`/`set_state(state)` or `state_dict()`/`load_state_dict(state)`
    saves and restores its own state by these methods. The attributes of other callbacks are saved
    like those of all objects of the program.

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
        self.configured = {
            name: {
                attribute: value
                for attribute, value in vars(callback).items()
                if isinstance(value, str | bool) and attribute not in CALLBACK_ARGUMENTS
            }
            for name, callback in self._callbacks.items()
        }
        """The strings and booleans that the code gave each callback, which identify it later."""

    def roots(self) -> dict[str, tuple[str, Any]]:
        """Return the callbacks whose attributes are state; see `ProgramObjects.note`."""
        return {
            _root(name): (f"callback {_class(name)}", callback)
            for name, callback in self._callbacks.items()
            if asked_methods(callback) is None
        }

    def get(self) -> dict[str, Any]:
        """Return the states of the callbacks that have methods to get and set them, by callback."""
        return {
            name: methods[0]()
            for name, callback in self._callbacks.items()
            if (methods := asked_methods(callback)) is not None
        }

    def set(
        self, attributes: AttributeState, states: Mapping[str, Any], configured: Mapping[str, Any]
    ) -> list[str]:
        """Restore the state of callbacks.

        Args:
            attributes: the restored attributes of Python objects.
            states: the states of callbacks with state methods, by callback. An older version has
                also stored plain attributes of other callbacks here.
            configured: the configurations of these callbacks; empty if an older version saved them.

        Returns:
            A sentence for each saved state that matches no callback.
        """
        names = [*states, *(name for name in configured if name not in states)]
        owners = self._owners(names, configured)
        for name, state in states.items():
            self._set_one(self._callbacks.get(owners.get(name, "")), state)
        attributes.restore({_root(name): _root(owner) for name, owner in owners.items()})
        free = self._callbacks.keys() - owners.values()
        return [
            _lost_state(
                name,
                configured.get(name, {}),
                [self.configured[other] for other in sorted(free) if _class(other) == _class(name)],
            )
            for name in names
            if name not in owners and (states.get(name) or attributes.has_loaded(_root(name)))
        ]

    def _set_one(self, callback: Any, state: Any) -> None:
        methods = asked_methods(callback)
        if methods is not None:
            methods[1](state)
        elif callback is not None and isinstance(state, dict):
            for attribute, value in state.items():
                setattr(callback, attribute, value)

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
    why = (
        f"the callback of this class now has {has}" if has else "it is not among the callbacks now"
    )
    return f"the saved state of the callback {_class(name)}{had} is not restored, because {why}"


def _root(name: str) -> str:
    return f"callbacks.{name}"
