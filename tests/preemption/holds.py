"""Standing still at a moment that is asked for, until the test says go: so a signal meets a program
exactly there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ckptkit.layout import STATE_FILE
from ckptkit.storage.files import FileSystem

_MOST_SECS = 100

_pending: set[str] = set()
"""The moments that have not come yet. Of the process: an attribute that a model can reach is state,
so a resume would bring back a moment that is over.
"""


class Holds:
    """The moments at which this program stands still, each once; `<name>.here` says that it does,
    `<name>.go` lets it go on.

    Args:
        names: of the moments.
    """

    def __init__(self, names: list[str]) -> None:
        _pending.update(names)

    def __contains__(self, name: str) -> bool:
        return name in _pending

    def at(self, name: str) -> None:
        """Stands still where `name` was asked for."""
        if name not in _pending:
            return
        _pending.remove(name)
        Path(f"{name}.here").touch()
        end = time.monotonic() + _MOST_SECS
        while not Path(f"{name}.go").exists():
            if time.monotonic() > end:
                os._exit(99)
            time.sleep(0.005)

    def inside(self, name: str, step: tf.Tensor, wanted: int) -> None:
        """Stands still inside a running step: the main thread is in C code, and Python runs no
        signal handler.
        """
        if name in _pending:
            tf.py_function(lambda now: self.at(name) if int(now) == wanted else None, [step], [])


class HoldingFiles(FileSystem):
    """Stands still right before the commit of a checkpoint, at `commit-1` before the first, and
    right after it, at `committed-1`.
    """

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._commits = 0

    def rename(self, source: Path, target: Path) -> None:
        if source.name.startswith(".writing-") and target.name.startswith("ckpt-"):
            self._commits += 1
            self._holds.at(f"commit-{self._commits}")
        super().rename(source, target)

    def replace_content(self, path: Path, data: bytes) -> None:
        if path.name == STATE_FILE:
            self._holds.at(f"committed-{self._commits}")
        super().replace_content(path, data)


class HoldingModel(keras.Model):
    """A small model that can stand still in the tracing of its training step, inside a running one,
    and in its export.

    Args:
        holds: the moments.
    """

    def __init__(self, holds: Holds) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(8, activation="relu")
        self.drop = keras.layers.Dropout(0.5, seed=3)
        self.out = keras.layers.Dense(1)
        self._holds = holds
        self.exporting = False

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.exporting:
            self._holds.at("export")
        return self.out(self.drop(self.hidden(inputs), training=training))

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        self._holds.at("tracing")
        self._holds.inside("batch", self.optimizer.iterations, wanted=7)
        return super().train_step(data)


class HoldingCallback(keras.callbacks.Callback):
    """Stands still in an evaluation, at the end of the last epoch, and notes that the export comes
    next.
    """

    def __init__(self, holds: Holds) -> None:
        super().__init__()
        self._holds = holds
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._epoch = epoch

    def on_test_batch_begin(self, batch: int, logs: object = None) -> None:
        if self._epoch == 1 and batch == 1:
            self._holds.at("validation")

    def on_test_batch_end(self, batch: int, logs: object = None) -> None:
        if self._epoch == 1 and batch == 2:
            self._holds.at("validation_end")

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if epoch + 1 == self.params["epochs"]:
            self._holds.at("epoch_end")

    def on_train_end(self, logs: object = None) -> None:
        self.model.exporting = True


def samples(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers to learn from."""
    x = np.random.default_rng(5).normal(size=(count, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)
