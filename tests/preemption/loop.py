"""Trains in a loop of its own, fifteen steps with an evaluation after every fifth, and exports;
prints what came of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json

import keras
import tensorflow as tf

import ckptkit
from tests.preemption.holds import HoldingFiles, HoldingModel, Holds, samples
from tests.support import checkers

STEPS = 15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--hold", nargs="*", default=[])
    args = parser.parse_args()

    if "export" not in args.hold:
        checkers.use(
            checkers.forked()
        )  # what these tests are about is not the check, and it would take most of their time
    holds = Holds(args.hold)
    keras.utils.set_random_seed(11)
    model, optimizer = HoldingModel(holds), keras.optimizers.Adam(0.01)
    x, y = samples(64)
    batches = iter(
        tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=2).repeat().batch(8)
    )
    model(x[:1])
    optimizer.build(model.trainable_variables)

    @tf.function
    def train_step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        holds.at("tracing")
        holds.inside("batch", optimizer.iterations, wanted=7)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    turns = []
    manager = ckptkit.CheckpointManager(
        args.run,
        {"model": model, "optimizer": optimizer, "batches": batches},
        background=False,
        save=ckptkit.EveryNSteps(5),
        files=HoldingFiles(holds),
    )
    with manager:
        for step in manager.steps(STEPS):
            loss = train_step(*next(batches))
            manager.log(loss=loss)
            turns.append(step)
            if step == 8:
                holds.at("turn")
            if step % 5 == 4:
                for part in range(3):
                    if step == 9 and part == 1:
                        holds.at("evaluation")
                    manager.safe_point()
            if step == STEPS:
                holds.at("last_turn")
    model.exporting = True
    ckptkit.export_saved_model(model, f"{args.run}/export")
    values = b"".join(
        variable.numpy().tobytes() for variable in [*model.variables, *optimizer.variables]
    )
    print(
        json.dumps(
            {
                "turns": turns,
                "iterations": int(optimizer.iterations),
                "digest": hashlib.sha256(values).hexdigest(),
            }
        )
    )


if __name__ == "__main__":
    main()
