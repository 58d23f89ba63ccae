"""Trainings whose run is mirrored; they run in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.support.store_servers import environment

BATCHES = 6
"""Batches of an epoch."""


class KillsItself(keras.callbacks.Callback):
    """Sends SIGKILL to its process when so many batches are done, counted over all attempts.

    It keeps no state of its own, which a resume would restore.
    """

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) >= self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fit(
    run: str, url: str | None, epochs: int = 3, kill_at: int = -1, seed: int = 1, width: int = 8
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
    options = json.loads(os.environ.get("MIRROR_OPTIONS", "{}"))
    mirror = ckptkit.Mirror(url, takeover_secs=1, options=options) if url else None
    callbacks = [
        ckptkit.CheckpointCallback(
            run,
            save=ckptkit.EveryNSteps(2),
            keep=ckptkit.KeepLatest(2),
            export=False,
            exact="require",
            mirror=mirror,
        )
    ]
    if kill_at >= 0:
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


def loop(run: str, url: str | None, steps: int) -> dict[str, Any]:
    """Train a loop; save each step, and wait for the store.

    Args:
        run: the run directory, or a URL.
        url: of the mirror, if the run is a directory.
        steps: of the whole training.
    """
    weight = tf.Variable(0.0)
    seen = []
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, mirror=url, keep=ckptkit.KeepLatest(2)
    )
    with manager:
        for step in manager.steps(steps):
            weight.assign_add(1.0)
            manager.save(step, durable="remote")
            seen.append(step)
        manager.wait_until_finished(durable="remote", timeout_secs=60)
    return {"seen": seen, "weight": float(weight), "run": str(manager.run.directory)}


def refused(directory: str, cases: list[tuple[str, dict[str, Any]]]) -> list[list[str]]:
    """Open a run with each mirror; return the class and the text of each error.

    Args:
        directory: the run directory.
        cases: the URL of each mirror, and changes of the environment.
    """
    found = []
    weight = tf.Variable(0.0)
    for url, changes in cases:
        with environment(changes):
            manager = ckptkit.CheckpointManager(
                directory, {"weight": weight}, mirror=ckptkit.Mirror(url)
            )
            try:
                manager.restore_or_initialize()
            except ckptkit.CheckpointError as error:
                found.append([type(error).__name__, str(error)])
            else:
                manager.close()
                found.append(["", ""])
    return found


def misused() -> list[str]:
    """Ask for the store without a mirror, and for an unknown level."""
    found = []
    weight = tf.Variable(0.0)
    with tempfile.TemporaryDirectory() as directory:
        manager = ckptkit.CheckpointManager(directory, {"weight": weight})
        with manager:
            for call in (
                lambda: manager.save(1, durable="remote"),
                lambda: manager.wait_until_finished(durable="remote"),
                lambda: manager.save(1, durable="everywhere"),
            ):
                try:
                    call()
                except ckptkit.ConfigError as error:
                    found.append(str(error))
    try:
        ckptkit.CheckpointCallback("x", mirror=5)
    except ckptkit.ConfigError as error:
        found.append(str(error))
    return found


def loses_the_server(run: str, url: str, server: int, required: bool, steps: int) -> dict[str, Any]:
    """Train a loop whose server is stopped in its middle; return how it ended.

    Args:
        run: the run directory.
        url: of the mirror.
        server: the process id of the server.
        required: see `Mirror`.
        steps: of the whole training.
    """
    weight = tf.Variable(0.0)
    mirror = ckptkit.Mirror(url, required=required, takeover_secs=1)
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, mirror=mirror, keep=ckptkit.KeepLatest(2)
    )
    error = ""
    try:
        with manager:
            for step in manager.steps(steps):
                weight.assign_add(1.0)
                manager.save(step, durable="remote" if step == 1 else "local")
                if step == 1:
                    os.kill(server, signal.SIGKILL)
    except ckptkit.BackgroundSaveError as caught:
        error = str(caught)
    events = ckptkit.open_run(run).journal
    return {
        "error": error,
        "weight": float(weight),
        "failed": [event.message for event in events if event.event == "upload_failed"],
    }


def stopped(run: str, url: str, grace_secs: float) -> None:
    """Train a loop until a signal arrives, which this process sends to itself."""
    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        run,
        {"weight": weight},
        mirror=ckptkit.Mirror(url, takeover_secs=1),
        save=ckptkit.EveryNSteps(1000),
        preemption=ckptkit.Preemption(grace_secs=grace_secs),
    )
    with manager:
        for step in manager.steps(1000):
            weight.assign_add(1.0)
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)


def sleeps(run: str, url: str) -> str:
    """Save one step, stop this whole process, and save another one when it wakes up."""
    weight = tf.Variable(0.0)
    mirror = ckptkit.Mirror(url, takeover_secs=1)
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, mirror=mirror, keep=ckptkit.KeepLatest(2)
    )
    try:
        with manager:
            for step in manager.steps(4):
                weight.assign_add(1.0)
                if step == 2:
                    os.kill(os.getpid(), signal.SIGSTOP)
                manager.save(step, durable="remote")
    except ckptkit.CheckpointError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def restored(run: str, url: str) -> dict[str, Any]:
    """Restore the newest checkpoint; return its step and the weight."""
    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, mirror=url, keep=ckptkit.KeepLatest(2)
    )
    try:
        step = manager.restore().step
        manager.close()
    except ckptkit.CheckpointNotFoundError as error:
        return {"error": str(error)}
    return {"step": step, "weight": float(weight), "seed": ckptkit.seeded(run, mirror=url)}
