"""A training without a seed that records the rows of each batch and can die after one."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.campaigns.exact.anchors import anchors_of

ROWS, BATCH = 88, 8


class Seen(keras.Model):
    """Writes down what it is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, batch: Any) -> Any:
        [written] = tf.py_function(self.write, [batch[0]], [tf.int32])
        with tf.control_dependencies([written]):
            return super().train_step(batch)

    def write(self, rows: Any) -> int:
        with Path("rows.jsonl").open("a") as file:
            file.write(json.dumps([int(row) for row in rows[:, 0]]) + "\n")
        return 0


class Dies(keras.callbacks.Callback):
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


def main(run: str, kind: str, after: int, anchors: Any) -> None:
    x = np.arange(ROWS, dtype="float32")[:, None]
    y = np.zeros((ROWS, 1), "float32")
    data: dict[str, Any] = {"x": x, "y": y, "batch_size": BATCH}
    if kind != "numpy":
        rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(ROWS if kind == "shuffle" else 20)
        data = {"x": (rows.shuffle(30) if kind == "two_shuffles" else rows).batch(BATCH)}
    model = Seen()
    model.build((None, 1))
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    ours = ckptkit.CheckpointCallback(
        run,
        save=ckptkit.EveryNSteps(1),
        export=False,
        background=False,
        anchors=anchors_of({"anchors": anchors}),
    )
    model.fit(**data, epochs=3, verbose=0, callbacks=[Dies(after), ours])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
