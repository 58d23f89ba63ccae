"""Private names of Keras' `TensorBoard` callback.

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
"""The attributes of a `TensorBoard` callback that belong to this process, and not to the run: its
counts, its times, and whether a profile is under way.
"""


def set_call_counts(tensorboard: Any, trained: int, evaluated: int) -> None:
    """Makes a `TensorBoard` callback count on from a number of calls.

    Reason: it counts from 0 in each `fit`. By that number it labels batches, thins them out
    (`update_freq`) and begins a profile.

    Args:
        tensorboard: the callback.
        trained: calls of the train function so far.
        evaluated: calls of the test function so far.
    """
    tensorboard._global_train_batch, tensorboard._global_test_batch = trained, evaluated


def measure_steps_per_second_from_here(tensorboard: Any) -> None:
    """Makes a `TensorBoard` callback measure the steps per second of this epoch from now on.

    Reason: it remembers the optimizer's count at the beginning of an epoch. In a resumed epoch this
    process has made only the steps from here on.
    """
    if tensorboard.write_steps_per_second:
        tensorboard._previous_epoch_iterations = keras.ops.convert_to_tensor(
            tensorboard.model.optimizer.iterations, "float32"
        )


def close_writers(tensorboard: Any) -> None:
    """Closes the event files of a `TensorBoard` callback as its `on_train_end` does.

    Reason: Keras does not call `on_train_end` if a `fit` ends with an exception. The files then
    stay open as long as the process runs, and every summary of the program goes to one of them.
    """
    while tensorboard._prev_summary_state:
        tensorboard._pop_writer()
    tensorboard._close_writers()
    tensorboard._writers = {}
