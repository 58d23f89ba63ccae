"""Replaces the list of a fit's callbacks by one that notices which callback stops training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class ObservedCallbacks(list[Any]):
    """A list of callbacks that knows which of them has set `model.stop_training`.

    Keras passes each event to one callback after the other by iterating over its list, and the
    model does not say who has set the attribute. So this list looks at it between two callbacks.

    Args:
        callbacks: the callbacks in their order.
        model: the model that is trained.

    Attributes:
        stopped_by: the callback that has stopped training; None if none has.
    """

    def __init__(self, callbacks: Iterable[Any], model: Any) -> None:
        super().__init__(callbacks)
        self._model = model
        self.stopped_by: Any = None

    def __iter__(self) -> Iterator[Any]:
        before = self._model.stop_training
        for callback in super().__iter__():
            yield callback
            now = self._model.stop_training
            if now and not before:
                self.stopped_by = callback
            before = now
