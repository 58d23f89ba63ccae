"""Trains with `fit`, three epochs of five steps with an evaluation each, and prints the result."""

from __future__ import annotations

import argparse
import hashlib
import json

import keras
import tensorflow as tf

import ckptkit
from tests.preemption.holds import HoldingCallback, HoldingFiles, HoldingModel, Holds, samples
from tests.support import checkers

EPOCHS, STEPS = 3, 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--hold", nargs="*", default=[])
    parser.add_argument(
        "--no-saves", action="store_true", help="save only when something asks for it"
    )
    parser.add_argument(
        "--background",
        action="store_true",
        help="write behind training; then a save stands still, and training goes on",
    )
    args = parser.parse_args()

    if "export" not in args.hold:
        checkers.use(
            checkers.forked()
        )  # what these tests are about is not the check, and it would take most of their time
    holds = Holds(args.hold)
    keras.utils.set_random_seed(11)
    model = HoldingModel(holds)
    model.compile("adam", "mse", jit_compile=False)
    x, y = samples(8 * STEPS)
    training = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=2).batch(8)
    validation = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=4).batch(8).take(3)
    save = ckptkit.EveryNSeconds(10_000) if args.no_saves else ckptkit.EveryNEpochs(1)
    manager = ckptkit.CheckpointManager(
        args.run, {"model": model}, save=save, files=HoldingFiles(holds), background=args.background
    )
    history = model.fit(
        training,
        epochs=EPOCHS,
        validation_data=validation,
        shuffle=False,
        verbose=0,
        callbacks=[HoldingCallback(holds), ckptkit.CheckpointCallback(manager)],
    )
    values = b"".join(
        variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]
    )
    print(
        json.dumps(
            {
                "epochs": history.epoch,
                "history": history.history,
                "iterations": int(model.optimizer.iterations),
                "digest": hashlib.sha256(values).hexdigest(),
            }
        )
    )


if __name__ == "__main__":
    main()
