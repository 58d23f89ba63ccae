"""A custom loop over epochs whose passes over data are no plain ones: broken off, several at once,
counted in the middle of their body.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.campaigns.exact.loop_program import dataset

STEPS_BEFORE_A_BREAK = 4


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
    first, second = dataset(options["data"]), dataset(options.get("second", options["data"]))
    seen = Path("losses.jsonl").open("a")  # noqa: SIM115 (open until the process ends, however it does)
    done = 0
    manager = ckptkit.CheckpointManager(
        options["run"],
        {"model": model, "optimizer": optimizer},
        save=ckptkit.EveryNSteps(options.get("save", 2)),
    )

    def train(step: int, *batches: Any) -> None:
        nonlocal done
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_mean((model(x, training=True) - y) ** 2) for x, y in batches)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        seen.write(json.dumps([step, float(loss).hex()]) + "\n")
        seen.flush()
        done += 1
        if done == options.get("die"):
            os.kill(os.getpid(), getattr(signal, options.get("signal", "SIGKILL")))

    def broken_off() -> None:
        """A pass of a few batches, then a whole one."""
        for number, batch in enumerate(manager.data(first)):
            if manager.position.batch >= STEPS_BEFORE_A_BREAK:
                assert number < 5
                break
            train(manager.position.step + 1, batch)
        for batch in manager.data(second):
            train(manager.position.step + 1, batch)

    def broken_off_last() -> None:
        """A pass of a few batches, with an evaluation after it."""
        for batch in manager.data(first):
            if manager.position.batch >= STEPS_BEFORE_A_BREAK:
                break
            train(manager.position.step + 1, batch)
        manager.safe_point()

    def at_once() -> None:
        for both in zip(manager.data(first), manager.data(second), strict=False):
            train(manager.position.step + 1, *both)

    def counted_inside() -> None:
        for batch in manager.data(first):
            step = manager.position.step + 1
            train(step, batch)
            if options["how"] == "save inside":
                manager.save(step)
            manager.safe_point()

    def left_at_the_top() -> Iterator[None]:
        """The whole program is left by a break, and started again."""
        for batch in manager.data(first):
            if options.get("leave") == done:
                yield
            train(manager.position.step + 1, batch)

    bodies = {
        "broken off": broken_off,
        "broken off last": broken_off_last,
        "at once": at_once,
        "save inside": counted_inside,
        "safe point": counted_inside,
    }
    with manager:
        for _ in manager.epochs(3):
            if options["how"] != "left":
                bodies[options["how"]]()
            elif next(left_at_the_top(), "went through") is None:
                break
        sha = hashlib.sha256(
            b"".join(np.asarray(v).tobytes() for v in [*model.variables, *optimizer.variables])
        ).hexdigest()
    Path("result.json").write_text(json.dumps({"digest": sha}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
