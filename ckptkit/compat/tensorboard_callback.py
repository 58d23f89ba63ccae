"""Private names of Keras' `TensorBoard` callback."""

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
"""What Keras' `TensorBoard` callback keeps of this process and its own `fit`: where it counts,
since when, and whether a profile is under way.
"""


def set_call_counts(tensorboard: Any, trained: int, evaluated: int) -> None:
    """Makes Keras' `TensorBoard` callback go on after so many calls of the train and the test
    function.

    Reason: it counts from 0 in each `fit`, and by that number it labels batches, thins them out
    (`update_freq`) and begins a profile.
    """
    tensorboard._global_train_batch, tensorboard._global_test_batch = trained, evaluated


def measure_steps_per_second_from_here(tensorboard: Any) -> None:
    """Makes the steps per second of the epoch that goes on be those of this process.

    Reason: the callback remembers the optimizer's count at the beginning of an epoch, which for
    this process is here.
    """
    if tensorboard.write_steps_per_second:
        tensorboard._previous_epoch_iterations = keras.ops.convert_to_tensor(
            tensorboard.model.optimizer.iterations, "float32"
        )


def close_writers(tensorboard: Any) -> None:
    """Closes the event files of Keras' `TensorBoard` callback as its `on_train_end` does, and lets
    go of them.

    Reason: Keras does not call that where a `fit` ends with an exception. The files stay open then
    for as long as the process lives, and one of them is what every summary of the program goes to.
    """
    while tensorboard._prev_summary_state:
        tensorboard._pop_writer()
    tensorboard._close_writers()
    tensorboard._writers = {}
