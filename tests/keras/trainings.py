"""Small trainings in one process: a model, its data, and callbacks that end one early."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.session import process_registry

ROWS, BATCH = 32, 8
STEPS = ROWS // BATCH


class StopError(Exception):
    """Ends a training before its end."""


def start_again() -> None:
    """Forgets which runs this process has finished: what follows stands for a new process."""
    process_registry.state.trained_to.clear()
    process_registry.state.finished.clear()


def model(
    optimizer: Any = "adam", loss: Any = "mse", *, seed: int = 3, width: int = 3
) -> keras.Model:
    """Return a compiled model."""
    keras.utils.set_random_seed(seed)
    made = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(width, activation="tanh"), keras.layers.Dense(1)]
    )
    made.compile(optimizer, loss)
    return made


class InFourParts(keras.Sequential):
    """A model whose train step takes a batch of four parts."""

    def train_step(self, data: Any) -> Any:
        x, y, *_ = data
        return super().train_step((x, y))


def in_four_parts() -> keras.Model:
    """Return a compiled model that is trained on batches of four parts."""
    keras.utils.set_random_seed(3)
    made = InFourParts([keras.Input((4,)), keras.layers.Dense(1)])
    made.compile("adam", "mse")
    return made


def rows() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(9).normal(size=(ROWS, 4)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) + 1).astype("float32")


def data(batch: int = BATCH) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(rows()).shuffle(ROWS, seed=4).batch(batch)


class After(keras.callbacks.Callback):
    """Does something after a number of batches.

    Args:
        batches: how many.
        action: what; by default `StopError` is raised.
    """

    def __init__(self, batches: int, action: Callable[[], Any] | None) -> None:
        super().__init__()
        self.left = batches
        self.action = action

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            if self.action is None:
                raise StopError
            self.action()

    def get_state(self) -> None:
        """Return nothing: the count starts anew in each attempt."""

    def set_state(self, state: None) -> None:
        """See `get_state`."""


def after(batches: int, action: Callable[[], Any] | None = None) -> After:
    """Return a callback that raises `StopError`, or does something else, after some batches."""
    return After(batches, action)


def fit(
    run: Any,
    made: keras.Model | None = None,
    *callbacks: Any,
    epochs: int = 2,
    batch: int = BATCH,
    fit_options: Any = None,
    same_process: bool = False,
    **options: Any,
) -> keras.callbacks.History:
    """Trains with a `CheckpointCallback` that saves after each step, or with a given one.

    Each call stands for a start of the program, so it forgets which runs this process has finished;
    with `same_process` it stands for a further `fit` of the same program.
    """
    if not same_process:
        process_registry.state.trained_to.clear()
    made = made or model()
    if not isinstance(run, ckptkit.CheckpointCallback):
        run = ckptkit.CheckpointCallback(
            run, **{"save": ckptkit.EveryNSteps(1), "export": False, "background": False, **options}
        )
    return made.fit(
        data(batch),
        epochs=epochs,
        validation_data=rows(),
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, run],
        **(fit_options or {}),
    )


def interrupted(
    run: Any, made: keras.Model | None = None, *callbacks: Any, batches: int = 3, **options: Any
) -> keras.Model:
    """Return the model of a training that was left after some batches.

    The state from before the last of them is saved.
    """
    made = made or model()
    try:
        fit(run, made, *callbacks, after(batches), **options)
    except StopError:
        return made
    raise AssertionError("it was not interrupted")


def bits(*parts: Any) -> list[bytes]:
    """Return the values of models or optimizers as bytes."""
    return [variable.numpy().tobytes() for part in parts for variable in part.variables]


def rate(made: keras.Model) -> float:
    return float(made.optimizer.learning_rate)


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collects the lines that ckptkit logs in its block."""
    lines: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("ckptkit")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
