"""Special treatment of Keras' CSVLogger, TensorBoard and BackupAndRestore on a resume."""

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
    """Raise an error if `BackupAndRestore` is in use, because it would also resume the run.

    Raises:
        ConfigError: If `BackupAndRestore` is in use.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ConfigError(
                "keras.callbacks.BackupAndRestore and CheckpointCallback would both resume this "
                "run, from different positions. Delete BackupAndRestore(...) from callbacks: "
                "CheckpointCallback does its work."
            )


# -- CSVLogger


def has_csv_files(callbacks: Iterable[Any]) -> bool:
    """Whether a `CSVLogger` is among the callbacks."""
    return any(True for _ in _csv_loggers(callbacks))


def keep_csv_files(callbacks: Iterable[Any]) -> None:
    """Make `CSVLogger` append to its file, which it would otherwise empty on a resume."""
    for callback in _csv_loggers(callbacks):
        callback.append = True


def csv_file_sizes(callbacks: Iterable[Any]) -> dict[str, int]:
    """Return the sizes of the files of `CSVLogger` in bytes, by file name."""
    flush_open_files(callbacks)  # flushed, because the size has to include buffered lines
    return {
        str(callback.filename): os.path.getsize(callback.filename)
        for callback in _csv_loggers(callbacks)
        if os.path.exists(callback.filename)
    }


def truncate_csv_files(callbacks: Iterable[Any], sizes: Mapping[str, int]) -> None:
    """Remove lines that `CSVLogger` wrote after the checkpoint, because they will be repeated.

    Args:
        callbacks: all other callbacks.
        sizes: the sizes of the files when the checkpoint was taken, in bytes, by file name.
    """
    for callback in _csv_loggers(callbacks):
        # The one of an earlier process cannot be restored; Keras makes another at the next epoch.
        callback.writer = None
        size = sizes.get(str(callback.filename))
        if (
            size is not None
            and os.path.exists(callback.filename)
            # A shorter file was replaced, and truncating would extend it with zeros.
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
    """Make `TensorBoard` continue to count batches from the run's position.

    Args:
        callbacks: all other callbacks.
        train_calls: the number of calls of the train function so far.
        test_calls: the number of calls of the test function so far.
    """
    for callback in _tensorboards(callbacks):
        tensorboard_callback.set_call_counts(callback, train_calls, test_calls)


def tensorboard_process_state(callbacks: Iterable[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Return the attributes of each `TensorBoard` that belong to this process, not to the run.

    With the checkpoint's values, it would treat a profile of the earlier process as its own.
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
    """Restore the attributes of each `TensorBoard` from `tensorboard_process_state`."""
    for callback, values in kept:
        vars(callback).update(values)
        tensorboard_callback.measure_steps_per_second_from_here(callback)


def close_event_files(callbacks: Iterable[Any]) -> None:
    """Close the event files of `TensorBoard`, because `fit` ends without `on_train_end`.

    The next start repairs only files that no process has open.
    """
    for callback in _tensorboards(callbacks):
        try:
            tensorboard_callback.close_writers(callback)
        # Any error is only logged: another error is already ending the fit.
        except Exception as error:
            logger.warning("could not close the event files in %s: %s", callback.log_dir, error)


def _tensorboards(callbacks: Iterable[Any]) -> list[Any]:
    return [each for each in callbacks if isinstance(each, keras.callbacks.TensorBoard)]


# -- any callback


def flush_open_files(callbacks: Iterable[Any]) -> None:
    """Flush the files that callbacks have open.

    An interrupted `fit` does not call their `on_train_end`, which would close the files.
    """
    for callback in callbacks:
        for value in vars(callback).values():
            for file in value.values() if isinstance(value, dict) else (value,):
                if callable(getattr(file, "flush", None)) and not getattr(file, "closed", False):
                    file.flush()
