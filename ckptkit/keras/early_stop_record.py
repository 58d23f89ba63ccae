"""Recognises early stops: a callback ends training, because it judges the model to be done.

Any other stop before the last epoch, as by a clock or a budget, leaves the run unfinished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras

from ckptkit.log import logger

_OF_KERAS = (keras.callbacks.EarlyStopping, keras.callbacks.TerminateOnNaN)


def judges_model(callback: Any) -> bool:
    """Return whether a callback stops training because the model is done, not because time is over.

    Those are Keras' `EarlyStopping` and `TerminateOnNaN`, classes derived from them, and callbacks
    of the user's with the attribute `judges_model = True`.
    """
    told = getattr(callback, "judges_model", None)
    return told if isinstance(told, bool) else isinstance(callback, _OF_KERAS)


@dataclass(frozen=True)
class EarlyStop:
    """The end of training before its last epoch, by a callback that judges the model.

    Args:
        callback: the name of its class.
        epochs: the epochs that were done.
        monitor: the metric that it watched, or None.
        patience: its patience in epochs, or None.
    """

    callback: str
    epochs: int
    monitor: str | None = None
    patience: int | None = None

    @classmethod
    def by(cls, callback: Any, epochs: int) -> EarlyStop:
        """Return the early stop that a callback has caused after a number of epochs."""
        return cls(type(callback).__name__, epochs, *_monitor_and_patience(callback))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> EarlyStop | None:
        """Return the early stop that a manifest records; None if it records none."""
        if not record:
            return None
        return cls(**{name: record[name] for name in cls.__dataclass_fields__ if name in record})

    def to_record(self) -> dict[str, str | int]:
        """Return plain values for the manifest, without those that are not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def holds(self, callbacks: Iterable[Any]) -> bool:
        """Return whether one of the current callbacks would have stopped training there too.

        A callback does not count if it is gone, watches another metric now, or has a larger
        patience.
        """
        for callback in callbacks:
            monitor, patience = _monitor_and_patience(callback)
            if (
                type(callback).__name__ == self.callback
                and monitor == self.monitor
                and (self.patience is None or patience is None or patience <= self.patience)
            ):
                return True
        return False

    @property
    def who(self) -> str:
        """The callback with what it watched, in words."""
        watched = [
            text
            for text in (
                self.monitor and f"monitor={self.monitor!r}",
                self.patience is not None and f"patience={self.patience}",
            )
            if text
        ]
        return f"{self.callback}({', '.join(watched)})"

    @property
    def remedy(self) -> str:
        """What to change so that training continues, in words."""
        patience = (
            f"give {self.callback} a larger patience"
            if self.patience is not None
            else f"change what {self.callback} decides by"
        )
        return f"{patience}, or take it out of callbacks"


def _monitor_and_patience(callback: Any) -> tuple[str | None, int | None]:
    monitor, patience = getattr(callback, "monitor", None), getattr(callback, "patience", None)
    return (
        monitor if isinstance(monitor, str) else None,
        patience if isinstance(patience, int) else None,
    )


def renew_patience(callback: Any) -> None:
    """Restart the patience of an `EarlyStopping` that has used it up.

    A program that asks for more epochs after an early stop expects more than one. The best value so
    far stays. A patience that was raised is not used up yet, so it continues.
    """
    if not isinstance(callback, keras.callbacks.EarlyStopping):
        return
    # Of the stop that is over: Keras would print it at the end of training.
    callback.stopped_epoch = 0
    if callback.wait >= callback.patience:
        logger.info(
            "%s had used up its patience of %d epochs when it stopped this run. Its patience "
            "restarts, and the best value is still %s=%s",
            type(callback).__name__,
            callback.patience,
            callback.monitor,
            callback.best,
        )
        callback.wait = 0
