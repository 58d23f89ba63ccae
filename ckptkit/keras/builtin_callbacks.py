"""Keras' own callbacks with files of their own: CSVLogger, TensorBoard, BackupAndRestore."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from ckptkit.compat import tensorboard_callback
from ckptkit.errors import ConfigError
from ckptkit.log import logger

# -- BackupAndRestore


def refuse_backup_and_restore(callbacks: Iterable[Any]) -> None:
    """Raises an error if `BackupAndRestore`, which would also resume the run, is in use.

    Raises:
        ConfigError: If `BackupAndRestore` is among them.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ConfigError(
                "keras.callbacks.BackupAndRestore and CheckpointCallback would both resume this "
                "run, from different positions. Delete BackupAndRestore(...) from callbacks: "
                "CheckpointCallback does its work."
            )


# -- CSVLogger


def keep_csv_files(callbacks: Iterable[Any]) -> None:
    """Makes `CSVLogger` append to its file, which it would empty when a resumed training begins."""
    for callback in _csv_loggers(callbacks):
        callback.append = True


def csv_file_sizes(callbacks: Iterable[Any]) -> dict[str, int]:
    """Return the sizes of the files of `CSVLogger` in bytes, by file name."""
    flush_open_files(callbacks)  # what is buffered is part of the file, too
    return {
        str(callback.filename): os.path.getsize(callback.filename)
        for callback in _csv_loggers(callbacks)
        if os.path.exists(callback.filename)
    }


def truncate_csv_files(callbacks: Iterable[Any], sizes: Mapping[str, int]) -> None:
    """Removes lines that `CSVLogger` wrote after the checkpoint: they are written again.

    Args:
        callbacks: all other callbacks.
        sizes: the sizes of the files when the checkpoint was taken, in bytes, by file name.
    """
    for callback in _csv_loggers(callbacks):
        size = sizes.get(str(callback.filename))
        if (
            size is not None
            and os.path.exists(callback.filename)
            # A shorter file is another one, and truncating would fill it with zeros.
            and os.path.getsize(callback.filename) >= size
        ):
            os.truncate(callback.filename, size)
            callback.append_header = size == 0


def _csv_loggers(callbacks: Iterable[Any]) -> list[Any]:
    return [each for each in callbacks if isinstance(each, keras.callbacks.CSVLogger)]


# -- TensorBoard


def continue_tensorboard_counts(
    callbacks: Iterable[Any], train_calls: int, test_calls: int
) -> None:
    """Makes `TensorBoard` continue to count batches at the run's position.

    Args:
        callbacks: all other callbacks.
        train_calls: calls of the train function so far.
        test_calls: calls of the test function so far.
    """
    for callback in _tensorboards(callbacks):
        tensorboard_callback.set_call_counts(callback, train_calls, test_calls)


def tensorboard_process_state(callbacks: Iterable[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Return the attributes of each `TensorBoard` that belong to this process, not to the run.

    With those of the checkpoint it would treat a profile of the earlier process as its own.
    """
    return [
        (
            callback,
            {
                name: vars(callback)[name]
                for name in tensorboard_callback.PROCESS_ATTRIBUTES
                if name in vars(callback)
            },
        )
        for callback in _tensorboards(callbacks)
    ]


def restore_tensorboard_process_state(kept: Iterable[tuple[Any, dict[str, Any]]]) -> None:
    """Restores in each `TensorBoard` what `tensorboard_process_state` has returned."""
    for callback, values in kept:
        vars(callback).update(values)
        tensorboard_callback.measure_steps_per_second_from_here(callback)


def close_event_files(callbacks: Iterable[Any]) -> None:
    """Closes the event files of `TensorBoard`, for a `fit` that ends without `on_train_end`.

    The next start repairs only files that no process has open.
    """
    for callback in _tensorboards(callbacks):
        try:
            tensorboard_callback.close_writers(callback)
        # Any error: the fit is being left already, with an error of its own.
        except Exception as error:
            logger.warning("could not close the event files in %s: %s", callback.log_dir, error)


def _tensorboards(callbacks: Iterable[Any]) -> list[Any]:
    return [each for each in callbacks if isinstance(each, keras.callbacks.TensorBoard)]


# -- any callback


def flush_open_files(callbacks: Iterable[Any]) -> None:
    """Flushes the files that callbacks have open.

    An interrupted `fit` does not call their `on_train_end`, which would close the files.
    """
    for callback in callbacks:
        for value in vars(callback).values():
            for file in value.values() if isinstance(value, dict) else (value,):
                if callable(getattr(file, "flush", None)) and not getattr(file, "closed", False):
                    file.flush()
