"""Programs whose training is stopped before its last epoch, for `test_stopped_training.py`."""

from __future__ import annotations

import os
import signal
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.keras.training_programs import digest

ROWS, BATCH = 32, 8


class _Stops(keras.callbacks.Callback):
    """Stops training after a number of steps, as a clock does; in which event is an option."""

    def __init__(self, steps: int, event: str) -> None:
        super().__init__()
        self._steps, self._event = steps, event
        self._epoch = self._done = 0

    def _stop_in(self, event: str) -> None:
        if event == self._event and self._done == self._steps:
            self.model.stop_training = True

    def in_step(self, iterations: Any) -> Any:
        """Stop in the train step: it does not belong to a callback."""
        if int(iterations) + 1 == self._steps:
            self.model.stop_training = True
        return iterations

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Not the optimizer's iterations, which also count the call that finds the end of the data.
        self._done = self._epoch * (ROWS // BATCH) + batch + 1
        self._stop_in("batch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._stop_in("epoch")

    def get_state(self) -> None:
        return None

    def set_state(self, state: None) -> None:
        return None


class _Warmup(keras.callbacks.Callback):
    """Sets the learning rate when a batch begins, and adds noise to a weight when an epoch ends."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.01 + 0.001 * int(self.model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.layers[-1].bias.assign_add(tf.random.normal((1,)))


def _model(ema: bool = False) -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dropout(0.3), keras.layers.Dense(1, name="last")]
    )
    optimizer = keras.optimizers.Adam(0.05, use_ema=ema, ema_momentum=0.8)
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def _data(kind: str, seed: int) -> dict[str, Any]:
    x = np.random.default_rng(seed).normal(size=(ROWS, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(ROWS, seed=4).batch(BATCH)
    if kind == "unknown length":
        dataset = dataset.filter(lambda x, y: True)
    if kind == "generator":
        dataset = tf.data.Dataset.from_generator(
            lambda: ((x[rows], y[rows]) for rows in np.random.permutation(ROWS).reshape(-1, BATCH)),
            output_signature=dataset.element_spec,
        )
    return {"x": dataset, "validation_data": (x, y)}


def stopped(run: str, seed: int, stop: int, event: str, kind: str, kill: int = 0) -> dict[str, Any]:
    """Trains five epochs, or as far as a clock lets it.

    Args:
        run: the run directory.
        seed: of the data.
        stop: after how many steps of the run the clock stops it; -1 for never.
        event: in which event of Keras.
        kind: of the data.
        kill: after how many steps of the run the process is killed; 0 for never.
    """
    model = _model(ema=kind == "averages")
    stops = _Stops(stop, event)
    if event == "step":

        def loss(y: Any, p: Any) -> Any:
            iterations = model.optimizer.iterations.value
            done = tf.numpy_function(stops.in_step, [iterations], iterations.dtype)
            with tf.control_dependencies([done]):
                return tf.reduce_mean((y - p) ** 2, axis=-1)

        model.compile(model.optimizer, loss, metrics=["mae"])

    def die(batch: int, logs: Any) -> None:
        if int(model.optimizer.iterations) == kill:  # with data of known length
            os.kill(os.getpid(), signal.SIGKILL)

    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.05 / (1 + epoch))
    history = model.fit(
        **_data(kind, seed),
        epochs=5,
        verbose=0,
        callbacks=[
            _Warmup() if kind == "warm-up" else schedule,
            keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=9),
            keras.callbacks.CSVLogger(f"{run}.csv"),
            ckptkit.CheckpointCallback(
                run,
                save=ckptkit.EveryNSteps(3),
                background=False,
                exact="require",
                export=stop > 0,  # what is published would cost a check, and prove nothing here
            ),
            stops,
            keras.callbacks.LambdaCallback(on_train_batch_end=die),
        ],
    )
    with open(f"{run}.csv") as file:
        rows = file.read()
    return {
        "weights": digest(model, model.optimizer),
        "history": history.history,
        "csv": rows,
        "exported": sorted(os.listdir(f"{run}/export")) if os.path.isdir(f"{run}/export") else [],
    }


def clock(directory: str, seed: int, stop: int, event: str, kind: str) -> list[Any]:
    """Returns what an uninterrupted training ends with, and then what a clock makes of it.

    Args:
        directory: for the runs.
        seed: of the data.
        stop: after how many steps of the run the clock stops it.
        event: in which event of Keras.
        kind: of the data.
    """
    whole = stopped(f"{directory}/whole", seed, -1, event, kind)
    first = stopped(f"{directory}/run", seed, stop, event, kind)
    newest = ckptkit.open_run(f"{directory}/run").find("latest")
    second = stopped(f"{directory}/run", seed, -1, event, kind)
    finals = [newest.step, newest.manifest.final, first["exported"]]
    return [whole, second, finals]


def early(run: str, seed: int, epochs: int, patience: int, who: str = "stopping") -> dict[str, Any]:
    """Trains with a callback that judges the model; returns what it ends with."""

    class Enough(keras.callbacks.Callback):
        judges_model = True

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch + 1 == 2:
                self.model.stop_training = True

    class Derived(keras.callbacks.EarlyStopping):
        pass

    # The loss taken for something to maximise: it falls, so the first epoch stays the best.
    watched: dict[str, Any] = {"monitor": "val_loss", "mode": "max", "patience": patience}
    judges = {
        "stopping": lambda: [keras.callbacks.EarlyStopping(**watched)],
        "derived": lambda: [Derived(**watched)],
        "another monitor": lambda: [keras.callbacks.EarlyStopping(monitor="val_mae", patience=9)],
        "own": lambda: [Enough()],
        "none": list,
    }
    model = _model()
    ours = ckptkit.CheckpointCallback(run, background=False, export=False)
    history = model.fit(
        **_data("rows", seed), epochs=epochs, verbose=0, callbacks=[ours, *judges[who]()]
    )
    newest = ckptkit.open_run(run).find("latest").manifest
    return {
        "weights": digest(model, model.optimizer),
        "epochs": len(history.epoch),
        "final": newest.final,
        "early_stop": newest.early_stop,
    }
