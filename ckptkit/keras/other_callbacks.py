"""The callbacks beside ours, through one `fit`: hidden on the way to the place, told of the present
event there, and given their state back.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ckptkit.keras import keras_callbacks
from ckptkit.keras.callback_state import CallbackStates


class OtherCallbacks:
    """The other callbacks of a `fit`.

    Args:
        callback_list: of the `fit`; it is not kept alive.
        ours: the callback that is not one of them.

    Raises:
        ConfigError: where one cannot stand beside ours.
    """

    def __init__(self, callback_list: Any, ours: Any) -> None:
        self._list = weakref.ref(callback_list)
        self._ours = ours
        self._all = [each for each in callback_list.callbacks if each is not ours]
        self._states: CallbackStates | None = None
        keras_callbacks.check_others(self._all)

    def hide(self) -> None:
        """Keras tells nobody but ours of its events."""
        self._show([self._ours])

    def _show(self, callbacks: list[Any]) -> None:
        callback_list = self._list()
        if callback_list is not None:
            callback_list.callbacks = callbacks

    def tell(self, event: Callable[[Any], object]) -> None:
        """Tells each of an event."""
        for callback in self._all:
            event(callback)

    def begin(self) -> None:
        """Training begins: what changes from here on is what they learn."""
        self._states = CallbackStates(self._all)

    def get(self) -> dict[str, Any]:
        """Their part of the state of `fit`."""
        return {
            "callbacks": self._states.get() if self._states else {},
            "configured": self._states.configured if self._states else {},
            "files": keras_callbacks.sizes(self._all),
        }

    def give_back(self, state: dict[str, Any]) -> list[str]:
        """Gives them what `get` took; what nobody could be given is returned, in words."""
        states = self._states or CallbackStates(self._all)
        return states.set(state["callbacks"], state.get("configured", {}))

    def go_on(
        self, state: dict[str, Any], event: Callable[[Any], object], trained: int, evaluated: int
    ) -> list[str]:
        """The place is reached: they hear of the present event, get their state back, and hear of
        all that follows.

        Args:
            state: what `get` took.
            event: tells one of the present event.
            trained: calls of the train function that were made before it.
            evaluated: calls of the test function.

        Returns:
            In words, what could be given to none of them.
        """
        self.begin()
        keras_callbacks.count_on(self._all, trained, evaluated)
        self.tell(event)
        of_the_process = keras_callbacks.of_the_process(self._all)
        lost = self.give_back(state)
        keras_callbacks.put_back(of_the_process)
        keras_callbacks.cut(self._all, state["files"])
        self._show([*self._all, self._ours])
        return lost

    def left_out(self) -> list[str]:
        """What training has changed in them and cannot be saved, in words."""
        return self._states.left_out() if self._states is not None else []

    def flush(self) -> None:
        """Writes out what they hold back in open files."""
        keras_callbacks.flush(self._all)

    def close(self) -> None:
        """Closes the event files that they have open: nobody else does, where `fit` is left before
        its end.
        """
        keras_callbacks.close(self._all)
