"""Keeps the open files of other callbacks right when a `fit` resumes or is interrupted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from ckptkit.compat import tensorboard_callback
from ckptkit.log import logger

# -- attributes of the process

_PROCESS_ATTRIBUTES: tuple[tuple[type, tuple[str, ...]], ...] = (
    # Its open file and the writer on it, and what `csv_rows` decides for this start.
    (keras.callbacks.CSVLogger, ("csv_file", "writer", "append", "append_header")),
    # Otherwise it would treat a profile of the earlier process as its own.
    (keras.callbacks.TensorBoard, tensorboard_callback.PROCESS_ATTRIBUTES),
)


def process_state(callbacks: Iterable[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Return attributes of Keras' own callbacks that belong to this process, not to the run."""
    return [
        (
            callback,
            {name: vars(callback)[name] for name in names if name in vars(callback)},
        )
        for callback in callbacks
        for kind, names in _PROCESS_ATTRIBUTES
        if isinstance(callback, kind)
    ]


def restore_process_state(kept: Iterable[tuple[Any, dict[str, Any]]]) -> None:
    """Restore the attributes of callbacks from `process_state`."""
    for callback, values in kept:
        vars(callback).update(values)
        if isinstance(callback, keras.callbacks.TensorBoard):
            tensorboard_callback.measure_steps_per_second_from_here(callback)


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
