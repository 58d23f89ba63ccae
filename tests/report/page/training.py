"""A small real training that a test kills, stops and damages, for the report of what came of it:
`python training.py RUN`.
"""

from __future__ import annotations

import sys
import time

import keras
import numpy as np

import ckptkit

EPOCHS, BATCHES = 8, 8


class Slow(keras.callbacks.Callback):
    """Takes its time, so that it can be met at a step; says where it is."""

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        print(f"did a step of epoch {int(self.model.optimizer.iterations) // BATCHES}", flush=True)
        time.sleep(0.015)


def main(run: str) -> None:
    keras.utils.set_random_seed(11)
    x = np.random.RandomState(2).rand(8 * BATCHES, 4).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    callback = ckptkit.CheckpointCallback(
        run,
        save=ckptkit.EveryNSteps(6),
        keep=ckptkit.KeepLatest(3),
        export=False,
        hparams={"note": "</script><script>document.title = 'taken'</script>", "width": 3},
    )
    model.fit(x, x.sum(1), batch_size=8, epochs=EPOCHS, verbose=0, callbacks=[callback, Slow()])


if __name__ == "__main__":
    main(sys.argv[1])
