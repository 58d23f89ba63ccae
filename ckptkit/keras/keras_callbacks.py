"""The callbacks beside ours: what cannot go together, and what has to be flushed before the process
is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from ckptkit.compat import tensorboard_callback
from ckptkit.errors import ConfigError
from ckptkit.log import logger


def check_others(callbacks: Iterable[Any]) -> None:
    """Checks that nobody else resumes the run as well.

    Raises:
        ConfigError: where `BackupAndRestore` stands beside ours.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ConfigError(
                "keras.callbacks.BackupAndRestore stands beside CheckpointCallback, and both "
                "would resume this run, from different "
                "places. Delete BackupAndRestore(...) from callbacks: CheckpointCallback does its "
                "work."
            )


def append(callbacks: Iterable[Any]) -> None:
    """Makes `CSVLogger` go on with its file, where it would empty it at the beginning of a training
    that is a continuation.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CSVLogger):
            callback.append = True


def sizes(callbacks: Iterable[Any]) -> dict[str, int]:
    """How long the files of `CSVLogger` are now."""
    flush(callbacks)
    loggers = [
        callback for callback in callbacks if isinstance(callback, keras.callbacks.CSVLogger)
    ]
    return {
        str(callback.filename): os.path.getsize(callback.filename)
        for callback in loggers
        if os.path.exists(callback.filename)
    }


def cut(callbacks: Iterable[Any], sizes: Mapping[str, int]) -> None:
    """Takes lines away that `CSVLogger` wrote after the checkpoint: they are written once more."""
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.CSVLogger):
            continue
        size = sizes.get(str(callback.filename))
        if (
            size is not None
            and os.path.exists(callback.filename)
            and os.path.getsize(callback.filename) >= size
        ):
            os.truncate(callback.filename, size)
            callback.append_header = size == 0


def count_on(callbacks: Iterable[Any], trained: int, evaluated: int) -> None:
    """Makes `TensorBoard` number the batches that follow as they are numbered in the run.

    Args:
        callbacks: all of them.
        trained: calls of the train function that were made.
        evaluated: calls of the test function.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            tensorboard_callback.count_on(callback, trained, evaluated)


def of_the_process(callbacks: Iterable[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """What `TensorBoard` keeps of this process, and not of the run: with the state that it had
    learned it would take an old profile for its own.
    """
    return [
        (
            callback,
            {
                name: vars(callback)[name]
                for name in tensorboard_callback.OF_THE_PROCESS
                if name in vars(callback)
            },
        )
        for callback in callbacks
        if isinstance(callback, keras.callbacks.TensorBoard)
    ]


def put_back(kept: Iterable[tuple[Any, dict[str, Any]]]) -> None:
    """Gives `TensorBoard` back what `of_the_process` took."""
    for callback, values in kept:
        vars(callback).update(values)
        tensorboard_callback.count_steps_from_here(callback)


def close(callbacks: Iterable[Any]) -> None:
    """Closes the event files of `TensorBoard`, where `fit` is left without its `on_train_end`: the
    next start puts them in order.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            try:
                tensorboard_callback.close_writers(callback)
            except (
                Exception
            ) as error:  # whatever it is: the fit is being left, with an error of its own
                logger.warning("could not close the event files in %s: %s", callback.log_dir, error)


def flush(callbacks: Iterable[Any]) -> None:
    """Writes out what callbacks hold back in open files: an interrupted `fit` does not call their
    `on_train_end`.
    """
    for callback in callbacks:
        for value in vars(callback).values():
            for held in value.values() if isinstance(value, dict) else (value,):
                if callable(getattr(held, "flush", None)) and not getattr(held, "closed", False):
                    held.flush()
