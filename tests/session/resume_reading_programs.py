"""Programs that resume from a checkpoint of some megabytes, for `test_resume_reading.py`."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.run import intact_verdict
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.events import Restored
from ckptkit.run.intact_verdict import IntactVerdict
from ckptkit.run.launcher_channel import ENVIRONMENT, Channel
from ckptkit.session import resume
from ckptkit.session.resume import Resume
from tests.support.polling import until

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
    files = [intact_verdict._file_now(checkpoint.path, each) for each in checkpoint.head.files]
    channel.give_verdict(
        IntactVerdict(
            checkpoint=os.path.realpath(checkpoint.path),
            files=tuple(each for each in files if each is not None),
            verified_at=time.time(),
        )
    )


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


def after_a_conflict(run: str) -> list[Any]:
    """A program catches an error of the resume, saves the same step anew, and restores it.

    Returns:
        How many copies of the state the failed resume has read, and the step and the value after
        the second one.
    """
    value = tf.Variable(tf.fill(SHAPE, 2.0))
    state = {"value": value}
    with ckptkit.CheckpointManager(run, state, hparams={"rate": 1}) as manager:
        manager.save(2)
    before = read_bytes()
    try:
        with ckptkit.CheckpointManager(run, state, hparams={"rate": 2}):
            raise AssertionError("a changed hyperparameter was accepted")
    except ckptkit.ConfigError:
        copies = (read_bytes() - before) / BYTES
    opened = ckptkit.CheckpointManager(run, state, hparams={"rate": 1})
    with opened as manager:
        refused = mock.patch.object(Resume, "restore", side_effect=ckptkit.ConfigError("no"))
        with refused, contextlib.suppress(ckptkit.ConfigError):
            manager.restore()
        value.assign(tf.fill(SHAPE, 3.0))
        manager.save(2)
        manager.wait_until_finished()
        value.assign(tf.zeros(SHAPE))
        manager.restore()
        return [copies, manager.position.step, float(value[0, 0])]


def settings_of_a_damaged_checkpoint(run: str, seed: int) -> list[Any]:
    """Training has changed a setting of a layer in the newest checkpoint, which is damaged.

    Returns:
        The step of the checkpoint that is restored, and the setting of the layer after that:
        first without damage, then with it.
    """

    def model() -> keras.Model:
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(700), keras.layers.Dropout(0.125)]
        return keras.Sequential([keras.Input((600,)), *layers])

    made = model()
    with ckptkit.CheckpointManager(run, {"model": made}) as manager:
        manager.save(1)
        made.layers[0].kernel.assign_add(tf.ones((600, 700)))
        made.layers[-1].rate = 0.75
        manager.save(2)
    found: list[Any] = []
    for is_damaged in (False, True):
        if is_damaged:
            damage(ckptkit.open_run(run).checkpoints[-1], seed)
        made = model()
        with ckptkit.CheckpointManager(run, {"model": made}) as manager:
            found += [manager.position.step, made.layers[-1].rate]
    return found


def seconds_of_reading(run: str) -> bool:
    """Whether the journal's time of a restore contains the time of reading."""
    saved(run)
    read, secs = resume.read_state, []

    def timed(checkpoint: Checkpoint) -> Any:
        began = time.monotonic()
        values = read(checkpoint)
        until(lambda: time.monotonic() - began > 0.05)
        secs.append(time.monotonic() - began)
        return values

    with (
        mock.patch.object(resume, "read_state", timed),
        ckptkit.CheckpointManager(run, {"value": tf.Variable(tf.zeros(SHAPE))}),
    ):
        pass
    (restored,) = (each for each in ckptkit.open_run(run).journal if isinstance(each, Restored))
    return restored.secs >= secs[0]


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


def bytes_read(run: str, stop_at: int) -> dict[str, float]:
    """Continue `fit`, and return how many copies of the state each part of the resume has read."""
    newest = ckptkit.open_run(run).checkpoints[-1]
    found = {}

    def counted(name: str) -> Any:
        method = getattr(Resume, name)

        def count(self: Resume, *arguments: Any) -> Any:
            before = read_bytes()
            result = method(self, *arguments)
            found[name] = (read_bytes() - before) / newest.manifest.size_bytes
            return result

        return mock.patch.object(Resume, name, count)

    with counted("newest"), counted("restore"):
        fit(run, 6, stop_at=stop_at)
    return found


def fit_with_a_verdict(run: str, seed: int) -> list[Any]:
    """Resume `fit` without a verdict, with one that is right, and with one that is wrong."""
    whole = fit(run + "-whole", 6)
    fit(run, 6, stop_at=2)
    without = bytes_read(run, stop_at=3)
    give_verdict(ckptkit.open_run(run).checkpoints[-1], run + "-channel")
    told = bytes_read(run, stop_at=4)
    newest = ckptkit.open_run(run).checkpoints[-1]
    damage(newest, seed)
    shutil.rmtree(run + "-channel")
    give_verdict(newest, run + "-channel")
    try:
        fit(run, 6)
    except ckptkit.CorruptCheckpointError as error:
        message = str(error)
    quarantined = [path.name for path in Path(run).glob("quarantine/ckpt-*-*") if path.is_dir()]
    same = quarantined == [str(newest.name)] and fit(run, 6) == whole
    return [message, same, without, told]
