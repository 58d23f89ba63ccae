"""Wraps private names of Keras' `TensorBoard` callback.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from typing import Any

import keras

PROCESS_ATTRIBUTES = (
    "_global_train_batch",
    "_global_test_batch",
    "_batch_start_time",
    "_epoch_start_time",
    "_is_tracing",
    "_profiler_started",
)
"""The attributes of a `TensorBoard` callback that belong to this process, not to the run.

These are its counts, its times, and whether a profile is active.
"""

OPEN_FILES = frozenset({"_writers", "_prev_summary_state"})
"""The attributes of a `TensorBoard` callback that hold its open event files.

Reason: its own methods fail if such an attribute is restored without the files. It opens them
again when a `fit` begins.
"""


def set_call_counts(tensorboard: Any, trained: int, evaluated: int) -> None:
    """Set the numbers of calls from which a `TensorBoard` callback continues to count.

    Reason: it counts from 0 in each `fit`. It uses the number to label batches, to select them
    (`update_freq`) and to begin a profile.

    Args:
        tensorboard: the callback.
        trained: the number of calls of the train function so far.
        evaluated: the number of calls of the test function so far.
    """
    tensorboard._global_train_batch, tensorboard._global_test_batch = trained, evaluated


def measure_steps_per_second_from_here(tensorboard: Any) -> None:
    """Let a `TensorBoard` callback measure the steps per second of this epoch from now on.

    Reason: it remembers the optimizer's count at the beginning of an epoch, but this process makes
    only the rest of a resumed epoch.
    """
    if tensorboard.write_steps_per_second:
        tensorboard._previous_epoch_iterations = keras.ops.convert_to_tensor(
            tensorboard.model.optimizer.iterations, "float32"
        )


def close_writers(tensorboard: Any) -> None:
    """Close the event files of a `TensorBoard` callback in the same way as its `on_train_end`.

    Reason: Keras does not call `on_train_end` if a `fit` ends with an exception. The files would
    then stay open, and every later summary of the program would be written into one of them.
    """
    while tensorboard._prev_summary_state:
        tensorboard._pop_writer()
    tensorboard._close_writers()
    tensorboard._writers = {}
