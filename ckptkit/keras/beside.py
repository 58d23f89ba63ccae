"""The callbacks beside ours: what cannot go together, and what has to be flushed before the process is left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from ckptkit.errors import ConfigError


def check_others(callbacks: Iterable[Any]) -> None:
    """Checks that nobody else resumes the run as well.

    Raises:
        ConfigError: where `BackupAndRestore` stands beside ours.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ConfigError("keras.callbacks.BackupAndRestore stands beside CheckpointCallback, and both would resume this run, from different "
                              "places. Delete BackupAndRestore(...) from callbacks: CheckpointCallback does its work.")


def flush(callbacks: Iterable[Any]) -> None:
    """Writes out what callbacks hold back in open files: an interrupted `fit` does not call their `on_train_end`."""
    for callback in callbacks:
        for value in vars(callback).values():
            for held in value.values() if isinstance(value, dict) else (value,):
                if callable(getattr(held, "flush", None)) and not getattr(held, "closed", False):
                    held.flush()
