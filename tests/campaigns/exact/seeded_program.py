"""A training without a seed of its own: it draws its validation rows and the orders of its data.

It calls `ckptkit.seeded` in its first line, and can die after a step.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit

ROWS, BATCH, EPOCHS = 60, 8, 3
STEPS = EPOCHS * (40 // BATCH)


class Dies(keras.callbacks.Callback):
    judges_model = False

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def get_state(self) -> None:
        return None

    def set_state(self, state: None) -> None:
        return None


def rows() -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-1, 1, ROWS * 4, dtype="float32").reshape(ROWS, 4)
    return x, np.sin(3 * x.sum(axis=1, keepdims=True))


def fit(model: keras.Model, run: str, train: Any, valid: Any, after: int) -> None:
    model.compile("adam", "mse")
    ours = ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(1), export=False, background=False
    )
    model.fit(train, validation_data=valid, epochs=EPOCHS, verbose=0, callbacks=[Dies(after), ours])


def loop(model: keras.Model, run: str, train: Any, valid: Any, after: int) -> None:
    optimizer, done = keras.optimizers.Adam(), 0
    manager = ckptkit.CheckpointManager(
        run,
        {"model": model, "optimizer": optimizer},
        save=ckptkit.EveryNSteps(1),
        background=False,
    )
    with manager:
        for _ in manager.epochs(EPOCHS):
            for x, y in manager.data(train):
                if done == after > 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
                weights = model.trainable_variables
                optimizer.apply(tape.gradient(loss, weights), weights)
                done += 1


def main(run: str, kind: str, after: int, result: str) -> None:
    # A forked process has the draws of its parent; a fresh one, which this stands for, its own.
    random.seed()
    np.random.seed()
    if kind != "unseeded":
        ckptkit.seeded(run)
    x, y = rows()
    order = np.random.permutation(ROWS)
    learnt = list(order[20:])
    random.shuffle(learnt)
    train = tf.data.Dataset.from_tensor_slices((x[learnt], y[learnt])).shuffle(40).batch(BATCH)
    valid = tf.data.Dataset.from_tensor_slices((x[order[:20]], y[order[:20]])).batch(BATCH)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, "tanh"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    (loop if kind == "loop" else fit)(model, run, train, valid, after)
    np.savez(
        result,
        *model.get_weights(),
        rows=order,
        drawn=[random.random(), np.random.rand(), float(tf.random.normal(()))],
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
