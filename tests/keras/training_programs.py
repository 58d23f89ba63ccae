"""The programs of the processes that these tests start."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import Any

import keras
import tensorflow as tf

import ckptkit
from tests.keras import trainings
from tests.support import checkers


def digest(*parts: Any) -> str:
    return hashlib.sha256(b"".join(trainings.bits(*parts))).hexdigest()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def optimizer(options: dict[str, Any]) -> Any:
    return keras.optimizers.Adam(
        options.get("learning_rate", 0.01), use_ema=options.get("ema", False), ema_momentum=0.9
    )


class BatchesOfProcess(keras.callbacks.Callback):
    """Counts the batches that this process has trained.

    It says itself that it has no state: otherwise a resume would restore the count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.count += 1

    def get_state(self) -> None:
        """Save nothing."""

    def set_state(self, state: None) -> None:
        """Restore nothing."""


def train(options: dict[str, Any]) -> dict[str, Any]:
    """Trains as the options say, and returns what it ends with.

    Options: `run`, `epochs`, `seed`, `learning_rate`, `ema`; `plateau` and `stopping` for
    callbacks; `die`, the batch after which the process is killed. All others are for
    `CheckpointCallback`.
    """
    checkers.use(checkers.forked())
    made = trainings.model(optimizer(options), seed=options.pop("seed", 3))
    batches = BatchesOfProcess()
    callbacks: list[Any] = [batches]
    if options.pop("plateau", False):
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=1e9)
        )
    if options.pop("stopping", False):
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss", mode="max", patience=10, restore_best_weights=True
            )
        )
    if dies := options.pop("die", None):
        callbacks.append(trainings.after(dies, die))
    for name in ("learning_rate", "ema"):
        options.pop(name, None)
    history = trainings.fit(options.pop("run"), made, *callbacks, **options)
    return {
        "digest": digest(made),
        "optimizer": digest(made.optimizer),
        "epochs": history.epoch,
        "history": history.history,
        "batches": batches.count,
        "rate": trainings.rate(made),
    }


def two_phases(directory: str, dies_in: int) -> str:
    """Trains the last layer first, then all layers with a smaller learning rate."""
    made = trainings.model()
    for phase, (trainable, learning_rate) in enumerate(((False, 0.01), (True, 0.001)), start=1):
        made.layers[0].trainable = trainable
        made.compile(keras.optimizers.Adam(learning_rate), "mse")
        trainings.fit(
            f"{directory}/{phase}", made, *([trainings.after(6, die)] if dies_in == phase else [])
        )
    return digest(made, made.optimizer)


def hold_open(run: str) -> None:
    """Keeps a run open until the process is killed."""
    with ckptkit.CheckpointManager(run, {"weight": tf.Variable(1.0)}):
        print("open", flush=True)
        time.sleep(100)
