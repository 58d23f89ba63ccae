"""The programs of the processes that these tests start."""

from __future__ import annotations

from typing import Any

import keras

from tests.keras import trainings


class Raises(keras.callbacks.Callback):
    """Raises `StopIteration` in one event."""

    def __init__(self, event: str) -> None:
        super().__init__()
        setattr(self, event, self._raise)

    def _raise(self, *args: Any, **options: Any) -> None:
        next(iter(()))


def stop_iteration(run: str, event: str) -> list[Any]:
    """Return the error with which `fit` ends; the run can be resumed after it."""
    try:
        trainings.fit(run, trainings.model(), Raises(event))
    except RuntimeError as error:
        found = [type(error).__name__, str(error)]
    else:
        raise AssertionError("fit has swallowed it")
    history = trainings.fit(run, trainings.model())
    assert history.epoch == [0, 1]
    return found
