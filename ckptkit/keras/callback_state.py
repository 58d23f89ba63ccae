"""The state of the callbacks beside ours: how early stopping waits, what was best, the history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from ckptkit.errors import ConfigError
from ckptkit.save import pystate

_NOT_STATE = frozenset({"model", "_model", "params", "_params", "validation_data", "monitor_op", "min_delta"})


class CallbackStates:
    """Gathers and gives back what callbacks have learned in training.

    A callback with `get_state()`/`set_state(state)` or `state_dict()`/`load_state_dict(state)` is asked. Of any other, the plain
    attributes that training has changed are taken, so that what the user configures in code stays what the code says.

    Args:
        callbacks: the callbacks of one `fit`, without ours.
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

    def get(self) -> dict[str, Any]:
        """What training has changed since this object was made, by callback."""
        return {name: self._get_one(name, callback) for name, callback in self._callbacks.items()}

    def _get_one(self, name: str, callback: Any) -> Any:
        getter = _method(callback, "get_state", "state_dict")
        if getter is not None:
            return getter()
        before = self._before[name]
        return {attribute: getattr(callback, attribute) for attribute, text in _plain(callback).items() if before.get(attribute) != text}

    def set(self, states: dict[str, Any]) -> None:
        """Gives callbacks back what `get` took."""
        for name, state in states.items():
            callback = self._callbacks.get(name)
            if callback is None:
                continue
            setter = _method(callback, "set_state", "load_state_dict")
            if setter is not None:
                setter(state)
            elif isinstance(state, dict):
                for attribute, value in state.items():
                    setattr(callback, attribute, value)


def _method(callback: Any, *names: str) -> Any:
    return next((getattr(callback, name) for name in names if callable(getattr(callback, name, None))), None)


def _plain(callback: Any) -> dict[str, tuple[str, list[bytes]]]:
    """The attributes that can be saved, as text that can be compared."""
    found = {}
    for name, value in vars(callback).items():
        if name in _NOT_STATE:
            continue
        try:
            text, arrays = pystate.encode(value, name)
        except ConfigError:
            continue
        found[name] = (text, [array.tobytes() for array in arrays])
    return found
