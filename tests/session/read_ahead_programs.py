"""Programs that resume from a checkpoint of some megabytes, for `test_read_ahead.py`."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.run import intact_verdict
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.intact_verdict import IntactVerdict
from ckptkit.run.launcher_channel import ENVIRONMENT, Channel

SHAPE = (1000, 2500)
BYTES = 10_000_000


def read_bytes() -> int:
    """The bytes that this process has read so far, from files in memory too."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))


def saved(run: str) -> None:
    value = tf.Variable(tf.zeros(SHAPE))
    with ckptkit.CheckpointManager(run, {"value": value}) as manager:
        for step in (1, 2):
            value.assign(tf.fill(SHAPE, float(step)))
            manager.save(step)
            manager.wait_until_finished()


def damage(checkpoint: Checkpoint, seed: int) -> None:
    (path,) = checkpoint.path.glob("*.data-*")
    data = bytearray(path.read_bytes())
    data[seed % 1_000_000] ^= 1 << seed % 8
    path.write_bytes(bytes(data))


def give_verdict(checkpoint: Checkpoint, directory: str) -> None:
    """Say that a checkpoint is intact as it is now, as a launcher would that has just read it."""
    os.environ[ENVIRONMENT] = directory
    channel = Channel(Path(directory))
    channel.directory.mkdir()
    channel.open()
    files = intact_verdict._files_in(checkpoint.path)
    assert files
    channel.give_verdict(IntactVerdict(checkpoint=os.path.realpath(checkpoint.path), files=files))


def loop(run: str, seed: int, steps: list[str]) -> dict[str, Any]:
    """Resume in a loop, after the newest checkpoint was damaged, or a verdict was given, or both.

    Args:
        run: the run directory.
        seed: which bit is damaged.
        steps: `damage` and `verdict`, in order.
    """
    saved(run)
    newest = ckptkit.open_run(run).checkpoints[-1]
    for each in steps:
        if each == "damage":
            damage(newest, seed)
        else:
            give_verdict(newest, run + "-channel")
    value = tf.Variable(tf.zeros(SHAPE))
    before = read_bytes()
    with ckptkit.CheckpointManager(run, {"value": value}) as manager:
        copies = (read_bytes() - before) / BYTES
        return {
            "step": manager.position.step,
            "is_right": bool((value.numpy() == manager.position.step).all()),
            "copies": copies,
            "quarantine": sorted(path.name for path in Path(run).glob("quarantine/ckpt-*-1")),
            "threads": [each.name for each in threading.enumerate() if "-read-" in each.name],
        }


def fit(run: str, epochs: int, stop_at: int = 0) -> list[bytes]:
    """Train with Adam in `fit`, two batches an epoch; return the bits of the weights.

    Args:
        run: the run directory.
        epochs: how many.
        stop_at: the epoch that an error ends; 0 for none.
    """

    class Ends(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch + 1 == stop_at:
                raise RuntimeError("the end")

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((500,)), keras.layers.Dense(700), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.linspace(-1, 1, 2000, dtype="float32").reshape(4, 500)
    callbacks = [ckptkit.CheckpointCallback(run, save=ckptkit.EveryNSteps(1), export=False), Ends()]
    with contextlib.suppress(*[RuntimeError] if stop_at else []):
        model.fit(x, x[:, :1], batch_size=2, epochs=epochs, verbose=0, callbacks=callbacks)
    return [np.asarray(weight).tobytes() for weight in (*model.weights, *model.optimizer.variables)]


def fit_with_a_verdict(run: str, seed: int) -> list[Any]:
    """Resume `fit` with a verdict, first with one that is right, then with one that is wrong."""
    whole = fit(run + "-whole", 6)
    fit(run, 6, stop_at=2)
    give_verdict(ckptkit.open_run(run).checkpoints[-1], run + "-channel")
    fit(run, 6, stop_at=4)
    newest = ckptkit.open_run(run).checkpoints[-1]
    damage(newest, seed)
    shutil.rmtree(run + "-channel")
    give_verdict(newest, run + "-channel")
    try:
        fit(run, 6)
    except ckptkit.CorruptCheckpointError as error:
        message = str(error)
    quarantined = [path.name for path in Path(run).glob("quarantine/ckpt-*-*") if path.is_dir()]
    return [message, quarantined == [str(newest.name)], fit(run, 6) == whole]
