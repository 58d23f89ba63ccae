"""Trainings that write event files, through `fit` and in a loop with `tf.summary`.

They are killed after step 620 and have a checkpoint of step 500.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.support.journals import events_of
from tests.support.tiny_models import tiny_model

SAVED, KILLED, EPOCH, EPOCHS, BATCH = 500, 620, 90, 8, 4


def _rows() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.RandomState(5).rand(EPOCH * BATCH, 4).astype("float32")
    return x, x.sum(1, keepdims=True)


class _Dies(keras.callbacks.Callback):
    """Kills the process when step 620 is done and what was written lies in files."""

    def __init__(self, run: str, tensorboard: keras.callbacks.TensorBoard) -> None:
        super().__init__()
        self.run, self.tensorboard = run, tensorboard

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == KILLED:
            for writer in (*self.tensorboard._writers.values(), self.model.writer):
                writer.flush()
            die(self.run)


def die(run: str) -> None:
    while not list(Path(run, "checkpoints").glob(f"ckpt-{SAVED}-*")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


class Model(keras.Model):
    """Writes a point of its own in each step, by the optimizer's count, and in every tenth one
    through a writer that nobody else knows.
    """

    def __init__(self, logs: str) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.writer = tf.summary.create_file_writer(f"{logs}/tenths")

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, data: Any) -> Any:
        logs = super().train_step(data)
        step = tf.cast(self.optimizer.iterations, tf.int64)
        tf.summary.scalar("own", self.count_params(), step=step)
        with self.writer.as_default(), tf.summary.record_if(step % 10 == 1):
            tf.summary.scalar("tenth", self.count_params(), step=step)
        return logs


def fit(directory: str, dies: bool, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Trains with Keras' `TensorBoard` beside ours, to the end or until it is killed."""
    logging.getLogger("ckptkit").setLevel(logging.INFO)
    keras.utils.set_random_seed(3)
    run, logs = f"{directory}/run", f"{directory}/logs"
    model = Model(logs)
    model.compile("sgd", "mse")
    x, y = _rows()
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(64, seed=7).batch(BATCH)
    options = {
        "update_freq": "batch",
        "histogram_freq": 1,
        "write_steps_per_second": True,
        **(options or {}),
    }
    tensorboard = keras.callbacks.TensorBoard(logs, **options)
    callback = ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(SAVED), export=False, tensorboard=logs
    )
    model.fit(
        data,
        epochs=EPOCHS,
        validation_data=(x, y),
        validation_batch_size=BATCH,
        verbose=0,
        callbacks=[callback, tensorboard, *([_Dies(run, tensorboard)] if dies else [])],
    )
    return {"batches": tensorboard._global_train_batch, "evaluated": tensorboard._global_test_batch}


def loop(directory: str, dies: bool) -> dict[str, Any]:
    """The same in a loop: batches, examples and epochs count three axes."""
    run, logs = f"{directory}/run", f"{directory}/logs"
    weight = tf.Variable(0.0)
    writers = {
        name: tf.summary.create_file_writer(f"{logs}/{name}")
        for name in ("train", "deep/er/evaluation")
    }
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, save=ckptkit.EveryNSteps(SAVED), tensorboard=logs
    )
    with manager:
        for step in manager.steps(EPOCH * EPOCHS):
            weight.assign_add(1.0)
            with writers["train"].as_default():
                tf.summary.scalar("loss", weight, step=step)
                tf.summary.scalar("loss_by_examples", weight, step=step * 1000)
            if step % EPOCH == 0:
                with writers["deep/er/evaluation"].as_default():
                    tf.summary.scalar("loss", weight, step=step)
                    tf.summary.scalar("loss_by_epoch", weight, step=step // EPOCH)
            if dies and step == KILLED:
                for writer in writers.values():
                    writer.flush()
                die(run)
    for writer in writers.values():
        writer.close()
    return {"value": float(weight)}


def counts(directory: str) -> list[dict[str, Any]]:
    """What Keras' `TensorBoard` counts after an interruption, with each way of thinning out; the
    same twice, without and with an interruption.

    The interruption is an exception in the same process: what is resumed is a new model, with new
    callbacks.
    """
    logging.getLogger("ckptkit").setLevel(logging.WARNING)
    found = []
    for name, options in {
        "epoch": {"update_freq": "epoch"},
        "seventh": {"update_freq": 7, "profile_batch": (13, 15)},
    }.items():
        for interrupted in (False, True):
            found.append(
                {
                    "name": name,
                    **_counted(
                        f"{directory}/{name}-{interrupted}", options, interrupted=interrupted
                    ),
                }
            )
    return found


class _Stop(keras.callbacks.Callback):
    """Ends the fit at its 14th step, in the middle of the profile; the checkpoint is of step 12."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == 14:
            raise InterruptedError


def _counted(directory: str, options: dict[str, Any], *, interrupted: bool) -> dict[str, Any]:
    x, y = (rows[: BATCH * 10] for rows in _rows())
    for attempt in range(2 if interrupted else 1):
        keras.utils.set_random_seed(3)
        model = tiny_model(4)
        tensorboard = keras.callbacks.TensorBoard(f"{directory}/logs", **options)
        callback = ckptkit.CheckpointCallback(
            f"{directory}/run",
            save=ckptkit.EveryNSteps(12),
            background=False,
            export=False,
            tensorboard=f"{directory}/logs",
        )
        stops = interrupted and not attempt
        try:
            # Twice as many epochs from a finished run are a resume as well: of a state that was
            # taken at the end of an epoch.
            for epochs in (3, 5):
                model.fit(
                    x,
                    y,
                    batch_size=BATCH,
                    epochs=epochs,
                    shuffle=False,
                    validation_data=(x, y),
                    verbose=0,
                    callbacks=[tensorboard, *([_Stop()] if stops else []), callback],
                )
        except InterruptedError:
            pass
    return {
        "trained": tensorboard._global_train_batch,
        "evaluated": tensorboard._global_test_batch,
        "tracing": tensorboard._is_tracing,
        "profiling": tensorboard._profiler_started,
    }


def ends(directory: str, attempts: int, dies: bool) -> None:
    """A training of 20 steps, a measurement at its end, and then a training to step 40: in one
    attempt, and it dies at step 25, before a further save; or in two of one process, and it dies at
    step 35, after one.
    """
    run, logs = f"{directory}/run", f"{directory}/logs"
    weight, writer = tf.Variable(0.0), tf.summary.create_file_writer(f"{directory}/logs")
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, save=ckptkit.EveryNSteps(10), background=False, tensorboard=logs
    )
    for totals in [(20,), (40,)] if dies and attempts == 2 else [(20, 40)]:
        with manager:
            for total in totals:
                step = 0
                for step in manager.steps(total):
                    weight.assign_add(1.0)
                    with writer.as_default():
                        tf.summary.scalar("loss", weight, step=step)
                    if dies and step == (25 if attempts == 1 else 35):
                        writer.flush()
                        os.kill(os.getpid(), signal.SIGKILL)
                if step:
                    with writer.as_default():
                        tf.summary.scalar("test", weight, step=total)
    writer.close()


class LeftOnce(Model):
    """Its third epoch begins with an exception that no event of a callback sees, as a second Ctrl-C
    may.
    """

    epochs = 0  # of the process: an attribute of the model is state, and a resume restores it

    def train_step(self, data: Any) -> Any:
        return keras.Model.train_step(
            self, data
        )  # a traced step would hold the writer of the first fit

    def reset_metrics(self) -> None:
        super().reset_metrics()
        LeftOnce.epochs += 1
        if LeftOnce.epochs == 3:
            raise KeyboardInterrupt


def same_callbacks(directory: str) -> list[str]:
    """A `fit` is left in the middle, and somebody holds the exception, as a notebook does; the next
    one has the same callbacks.
    """
    model = LeftOnce(f"{directory}/logs")
    model.compile("sgd", "mse")
    x, y = (rows[: BATCH * 10] for rows in _rows())
    tensorboard = keras.callbacks.TensorBoard(f"{directory}/logs", update_freq="batch")
    callbacks = [
        tensorboard,
        ckptkit.CheckpointCallback(
            f"{directory}/run",
            save=ckptkit.EveryNSteps(5),
            background=False,
            export=False,
            tensorboard=f"{directory}/logs",
        ),
    ]
    held = []
    for _ in range(2):
        try:
            model.fit(
                x, y, batch_size=BATCH, epochs=4, shuffle=False, verbose=0, callbacks=callbacks
            )
        except KeyboardInterrupt as error:
            held.append(error)
    return [type(error).__name__ for error in held]


class _LetsGo(keras.callbacks.Callback):
    """Lets go of what is held in the middle of training."""

    def __init__(self, held: list[BaseException]) -> None:
        super().__init__()
        self.held = held

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.held.clear()
        gc.collect()


def same_manager(directory: str) -> list[str]:
    """The exception that left a `fit` is let go of while the next one trains, with the same
    manager.
    """
    model = LeftOnce(f"{directory}/logs")
    model.compile("sgd", "mse")
    x, y = (rows[: BATCH * 10] for rows in _rows())
    manager = ckptkit.CheckpointManager(
        f"{directory}/run", {"model": model}, save=ckptkit.EveryNSteps(5)
    )
    held: list[BaseException] = []
    callbacks = [ckptkit.CheckpointCallback(manager, export=False)]
    try:
        model.fit(x, y, batch_size=BATCH, epochs=4, verbose=0, callbacks=callbacks)
    except KeyboardInterrupt as error:
        held.append(error)
    model.fit(x, y, batch_size=BATCH, epochs=4, verbose=0, callbacks=[*callbacks, _LetsGo(held)])
    return [event.outcome for event in events_of(f"{directory}/run", "attempt_ended")]
