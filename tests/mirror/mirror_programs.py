"""Trainings whose run is mirrored; they run in processes of their own."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit

BATCHES = 6
"""Batches of an epoch."""


class KillsItself(keras.callbacks.Callback):
    """Sends SIGKILL to its process before a batch, counted over all epochs of this process."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fit(
    run: str, url: str | None, epochs: int = 3, kill_at: int = 0, seed: int = 1, width: int = 8
) -> dict[str, Any]:
    """Train with Dropout, BatchNormalization and a shuffled dataset; return what came out."""
    keras.utils.set_random_seed(seed)
    values = np.random.default_rng(seed).normal(size=(BATCHES * 4, width)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((values, values[:, :1])).shuffle(64).batch(4)
    model = keras.Sequential(
        [
            keras.Input((width,)),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    mirror = ckptkit.Mirror(url, takeover_secs=1) if url else None
    callbacks = [
        ckptkit.CheckpointCallback(
            run, save=ckptkit.EveryNSteps(2), export=False, exact="require", mirror=mirror
        )
    ]
    if kill_at:
        callbacks.append(KillsItself(kill_at))
    history = model.fit(dataset, epochs=epochs, callbacks=callbacks, verbose=0)
    return {
        "weights": _digest([v.numpy() for v in model.weights]),
        "optimizer": _digest([v.numpy() for v in model.optimizer.variables]),
        "history": history.history,
        "fetched": [
            event.checkpoint for event in ckptkit.open_run(run).journal if event.event == "fetched"
        ],
    }


def loop(run: str, url: str, steps: int, **options: Any) -> dict[str, Any]:
    """Train a loop; save each step and wait for the store where `durable` is asked for."""
    weight = tf.Variable(0.0)
    seen = []
    manager = ckptkit.CheckpointManager(run, {"weight": weight}, mirror=url)
    with manager:
        for step in manager.steps(steps):
            weight.assign_add(1.0)
            manager.save(step, durable="remote")
            seen.append(step)
        manager.wait_until_finished(durable="remote", timeout_secs=60)
    return {"seen": seen, "weight": float(weight), "run": str(Path(run).resolve())}
