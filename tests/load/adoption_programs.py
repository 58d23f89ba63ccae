"""Trainings with other systems, killed on the way, and adopted by a run of ckptkit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit

EPOCHS, ROWS, BATCH = 6, 32, 8


def network(seed: int) -> keras.Model:
    """A model without random layers, so that the other systems can restore all that matters."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="tanh", name="body"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, 4)).astype("float32"), rng.normal(size=(ROWS, 2))


def bits(model: keras.Model) -> list[str]:
    return [
        np.asarray(each).tobytes().hex() for each in [*model.weights, *model.optimizer.variables]
    ]


class SaveWithManager(keras.callbacks.Callback):
    """Saves with `tf.train.CheckpointManager` at the end of each epoch, as scripts do it."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = str(directory)

    def on_train_begin(self, logs=None):
        checkpoint = tf.train.Checkpoint(model=self.model, optimizer=self.model.optimizer)
        self._manager = tf.train.CheckpointManager(checkpoint, self._directory, max_to_keep=2)

    def on_epoch_end(self, epoch, logs=None):
        self._manager.save(checkpoint_number=epoch + 1)


class Die(keras.callbacks.Callback):
    """Kills the process in an epoch, after its first batch."""

    def __init__(self, epoch: int | None) -> None:
        super().__init__()
        self._epoch, self._now = epoch, -1

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._now == self._epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def callback_of(system: str, directory: Path) -> keras.callbacks.Callback:
    if system == "manager":
        return SaveWithManager(directory)
    if system == "backup":
        return keras.callbacks.BackupAndRestore(str(directory), delete_checkpoint=False)
    if system == "model checkpoint":
        return keras.callbacks.ModelCheckpoint(str(directory / "epoch-{epoch:02d}.keras"))
    if system == "weights checkpoint":
        return keras.callbacks.ModelCheckpoint(
            str(directory / "newest.weights.h5"), save_weights_only=True
        )
    assert system == "orbax", system
    return keras.callbacks.OrbaxCheckpoint(
        str(directory), save_freq="epoch", save_on_background=False
    )


def train(system: str, directory: str, seed: int, die_in: int) -> None:
    """Train with another system, and be killed."""
    Path(directory).mkdir(parents=True)
    callbacks = [callback_of(system, Path(directory)), Die(die_in)]
    network(seed).fit(
        *rows(seed), epochs=EPOCHS, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks
    )


def continue_there(system: str, directory: str, seed: int, epoch: int) -> list[str]:
    """Continue as a program of that system does it."""
    model, callbacks, first = network(seed), [], epoch
    model.optimizer.build(model.trainable_variables)
    if system == "manager":
        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        status = checkpoint.restore(tf.train.latest_checkpoint(directory))
        status.assert_existing_objects_matched()
    elif system == "backup":
        callbacks, first = [callback_of(system, Path(directory))], 0
    elif system == "orbax":
        model.load_weights(directory)
    else:
        (newest,) = [*sorted(Path(directory).iterdir())][-1:]
        model.load_weights(newest)
    model.fit(
        *rows(seed),
        epochs=EPOCHS,
        initial_epoch=first,
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    return bits(model)


def continue_here(
    source: Any, run: str, seed: int, die_in: int | None = None, **options: Any
) -> dict[str, Any]:
    """Continue in a run of ckptkit that adopts what was saved."""
    model = network(seed)
    callback = ckptkit.CheckpointCallback(
        run, adopt=source, export=False, exact="off", save=ckptkit.EveryNSteps(3), **options
    )
    history = model.fit(
        *rows(seed),
        epochs=EPOCHS,
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=[Die(die_in), callback],
    )
    adopted = [event for event in ckptkit.open_run(run).journal if event.event == "adopted"]
    return {
        "bits": bits(model),
        "epochs": history.epoch,
        "adopted": [
            {"system": each.system, "step": each.step, "epoch": each.epoch, "matched": each.matched,
             "missing": each.missing}
            for each in adopted
        ],
        "steps": [each.step for each in ckptkit.open_run(run).checkpoints],
    }  # fmt: skip


def files(directory: str) -> dict[str, str]:
    """All files with their contents and times."""
    return {
        str(path.relative_to(directory)): f"{path.read_bytes().hex()} {path.stat().st_mtime_ns}"
        for path in sorted(Path(directory).rglob("*"))
        if path.is_file()
    }
