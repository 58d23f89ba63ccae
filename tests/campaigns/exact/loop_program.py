"""A custom loop over epochs, which dies at a given step; it prints nothing and writes what it saw
and ended with.
"""

from __future__ import annotations

import hashlib
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
from tests.campaigns.exact.program import BATCH, arrays, from_generator, tf_rows


def dataset(kind: str) -> Any:
    kinds: dict[str, Any] = {
        "shuffle": lambda: tf_rows().shuffle(50, seed=7).batch(BATCH),
        "two_shuffles": lambda: (
            tf_rows().shuffle(30, seed=7).shuffle(20, seed=8).batch(BATCH).prefetch(2)
        ),
        "cache": lambda: tf_rows().shuffle(30, seed=7).cache().shuffle(20, seed=8).batch(BATCH),
        "repeat": lambda: tf_rows().shuffle(60, seed=7).repeat(2).batch(BATCH),
        "concatenate": lambda: (
            tf_rows()
            .shuffle(50, seed=7)
            .concatenate(tf_rows().take(24).shuffle(20, seed=8))
            .batch(BATCH)
        ),
        "from_generator": from_generator,
        "list": lambda: [
            (row, target)
            for row, target in zip(
                *(a.reshape(-1, BATCH, a.shape[1]) for a in arrays()), strict=True
            )
        ],
        "shuffled": lambda: ckptkit.data.shuffled(arrays(), BATCH, seed=3).take(11),
    }
    return kinds[kind]()


def main(options: dict[str, Any]) -> None:
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.Adam(1e-2)
    train, second = dataset(options["data"]), dataset(options.get("second", options["data"]))
    losses = Path("losses.jsonl").open("a")  # noqa: SIM115 (open until the process ends, however it does)
    step = 0

    def train_step(batch: Any) -> Any:
        x, y = batch
        noise = np.random.normal(size=(1,)).astype("float32")
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x + noise, training=True) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    manager = ckptkit.CheckpointManager(
        options["run"],
        {"model": model, "optimizer": optimizer},
        save=ckptkit.EveryNSteps(options.get("save", 2)),
        anchors=anchors_of(options),
    )
    with manager:
        for _ in manager.epochs(3):
            for source in (train, second) if options.get("second") else (train,):
                for batch in manager.data(source):
                    loss = train_step(batch)
                    losses.write(json.dumps([manager.position.step + 1, float(loss).hex()]) + "\n")
                    losses.flush()
                    step += 1
                    if step == options.get("die"):
                        os.kill(os.getpid(), getattr(signal, options.get("signal", "SIGKILL")))
        sha = hashlib.sha256(
            b"".join(np.asarray(v).tobytes() for v in [*model.variables, *optimizer.variables])
        ).hexdigest()
    Path("result.json").write_text(json.dumps({"digest": sha}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
