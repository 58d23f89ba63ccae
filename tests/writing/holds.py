"""A training that sits in its evaluation, or in a step, for longer than there is grace."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit

SLEEP_SECS = 60.0


class Sits(keras.Model):
    """Its second evaluation takes a minute, in one call."""

    def __init__(self, sits: bool) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.sits = sits
        self.evaluations = 0

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def test_step(self, data: Any) -> Any:
        [slept] = tf.py_function(self.sit, [], [tf.int32])
        with tf.control_dependencies([slept]):
            return super().test_step(data)

    def sit(self) -> int:
        self.evaluations += 1
        if self.sits and self.evaluations == 2:
            Path("sits").touch()
            time.sleep(SLEEP_SECS)
        return 0


def main(run: str, sits: bool) -> None:
    x = np.ones((32, 2), "float32")
    keras.utils.set_random_seed(4)
    model = Sits(sits)
    model.build((None, 2))
    model.compile("sgd", "mse")
    callback = ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(3), preemption=ckptkit.Preemption(grace_secs=3), export=False
    )
    model.fit(
        x,
        x[:, :1],
        batch_size=8,
        epochs=3,
        validation_data=(x[:8], x[:8, :1]),
        validation_batch_size=8,
        verbose=0,
        callbacks=[callback],
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "sits")
