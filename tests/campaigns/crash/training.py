"""A real, small training that is killed at random: a network with Dropout and Adam, saved at every
step in the background.

What it prints is what a restore is judged by: where it goes on, and the digest of all that it has
at the end.
"""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit


def train(run: str, total: int, every: int, keep: int = 2) -> dict[str, Any]:
    """Trains to `total` steps, saving `every` so many, or until it is killed.

    Returns:
        Where it went on, and the digest of all variables at the end.
    """
    logging.getLogger("ckptkit").setLevel(logging.WARNING)
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    rows = np.random.RandomState(5).rand(64, 8).astype("float32")
    batches = iter(tf.data.Dataset.from_tensor_slices(rows).shuffle(64, seed=7).repeat().batch(16))

    @tf.function
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                (model(batch, training=True) - tf.reduce_sum(batch, 1, keepdims=True)) ** 2
            )
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    # Never trained, and large enough for a data file of its own, which checkpoints share.
    base = tf.Variable(np.random.RandomState(0).rand(300_000).astype("float32"))
    manager = ckptkit.CheckpointManager(
        run,
        {"model": model, "optimizer": optimizer, "batches": batches, "base": base},
        save=ckptkit.EveryNSteps(every),
        keep=ckptkit.KeepLatest(keep),
    )
    with manager:
        print(f"goes on from {manager.latest_step or 0}", flush=True)
        for _ in manager.steps(total):
            manager.log(loss=step(next(batches)))
            if every == 1:
                time.sleep(
                    0.002
                )  # nothing trains as fast as this; the writer gets to most of the steps
    digest = hashlib.sha256()
    for variable in (*model.variables, *optimizer.variables):
        digest.update(np.asarray(variable.value).tobytes())
    digest.update(base.numpy().tobytes())
    return {"digest": digest.hexdigest()}
