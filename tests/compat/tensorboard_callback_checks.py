"""Checks of `ckptkit/compat/tensorboard_callback.py`: one function for each name."""

from __future__ import annotations

import contextlib

import keras
import tensorflow as tf

from ckptkit.compat import tensorboard_callback
from tests.compat.small_model import model, x, y


def set_call_counts():
    import glob

    class On(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            tensorboard_callback.set_call_counts(tensorboard, 40, 7)

    tensorboard = keras.callbacks.TensorBoard("logs", update_freq=1)
    model().fit(
        x, y, batch_size=4, verbose=0, validation_data=(x, y), callbacks=[tensorboard, On()]
    )
    assert (tensorboard._global_train_batch, tensorboard._global_test_batch) == (42, 9)
    steps = {
        event.step
        for file in glob.glob("logs/train/*tfevents*")
        for event in tf.compat.v1.train.summary_iterator(file)
        for value in event.summary.value
        if value.tag == "batch_loss"
    }
    assert steps == {41, 42}, steps
    tensorboard = keras.callbacks.TensorBoard("logs", write_steps_per_second=True)
    model().fit(x, y, verbose=0, callbacks=[tensorboard])
    assert set(tensorboard_callback.PROCESS_ATTRIBUTES) <= set(vars(tensorboard)), set(
        tensorboard_callback.PROCESS_ATTRIBUTES
    ) - set(vars(tensorboard))


def close_writers():
    import psutil

    def opened():
        return [file.path for file in psutil.Process().open_files() if "tfevents" in file.path]

    for freq, event in (
        (1, "on_train_batch_end"),
        (1, "on_test_batch_end"),
        ("epoch", "on_train_batch_end"),
    ):
        fails, tensorboard = (
            keras.callbacks.Callback(),
            keras.callbacks.TensorBoard("logs", update_freq=freq),
        )

        def fail(batch, logs=None):
            raise InterruptedError

        setattr(fails, event, fail)
        with contextlib.suppress(InterruptedError):
            model().fit(
                x,
                y,
                batch_size=4,
                verbose=0,
                validation_data=(x, y),
                callbacks=[tensorboard, fails],
            )
        assert opened()
        tensorboard_callback.close_writers(tensorboard)
        assert opened() == [], (freq, event)
        with tf.summary.record_if(True):
            assert not tf.summary.scalar("nobody", 1.0, step=1)


def measure_steps_per_second_from_here():
    made = model()
    made.fit(x, y, batch_size=4, verbose=0)
    for measures in (True, False):
        tensorboard = keras.callbacks.TensorBoard("logs", write_steps_per_second=measures)
        tensorboard.set_model(made)
        tensorboard_callback.measure_steps_per_second_from_here(tensorboard)
        assert float(tensorboard._previous_epoch_iterations) == (2.0 if measures else 0.0)
