"""A custom loop on several devices, which dies at a given step; it writes what it saw and ended
with.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.campaigns.exact.loop_program import dataset
from tests.campaigns.exact.program import FEATURES, components
from tests.campaigns.replicas.devices import mirrored


def make(kind: str) -> tuple[dict[str, Any], Any]:
    """Return the state by name, and the function that trains one replica on its part of a batch."""
    synchronized = kind == "synchronized"
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(synchronized=synchronized),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1, dtype="float32"),
        ]
    )
    first = keras.optimizers.Adam(1e-2)
    second = keras.optimizers.SGD(1e-2, momentum=0.9)
    metric = keras.metrics.Mean()
    noise = tf.random.Generator.from_seed(3)
    count = tf.Variable(
        0.0,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )
    weights = model.trainable_variables
    lower, upper = weights[:2], weights[2:]
    if kind == "two_optimizers":
        first.build(lower), second.build(upper)
    # Else the manager builds the optimizer, outside of the strategy's scope.
    state: dict[str, Any] = {"model": model, "metric": metric, "noise": noise, "count": count}
    state["optimizers"] = [first, second] if kind == "two_optimizers" else [first]

    def train(batch: Any) -> Any:
        x, y = batch
        x += 0.1 * noise.normal(tf.shape(x))
        with tf.GradientTape() as tape:
            loss = tf.nn.compute_average_loss(
                tf.reduce_sum((model(x, training=True) - y) ** 2, axis=1), global_batch_size=8
            )
        gradients = tape.gradient(loss, weights)
        if kind == "two_optimizers":
            first.apply(gradients[:2], lower), second.apply(gradients[2:], upper)
        else:
            first.apply(gradients, weights)
        metric.update_state(loss)
        count.assign_add(tf.cast(tf.shape(x)[0], tf.float32))
        return loss

    return state, train


def digest(state: dict[str, Any]) -> str:
    """SHA-256 over all replicas of all variables."""
    variables = [*state["model"].variables, *state["metric"].variables, state["noise"].state]
    variables += [state["count"]]
    variables += [each for optimizer in state["optimizers"] for each in optimizer.variables]
    sha = hashlib.sha256()
    for variable in variables:
        for component in components(variable):
            sha.update(np.asarray(component).tobytes())
    return sha.hexdigest()


def main(options: dict[str, Any]) -> None:
    strategy = mirrored(options["devices"])
    keras.utils.set_random_seed(5)
    with strategy.scope():
        state, train = make(options.get("model", "plain"))

    @tf.function
    def step(batch: Any) -> Any:
        losses = strategy.run(train, args=(batch,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    data = dataset(options.get("data", "shuffle"))
    given: dict[str, Any] = {"strategy": strategy}
    if options.get("data_by") == "tensorflow":
        data, given = strategy.experimental_distribute_dataset(data), {}
    die = getattr(signal, options.get("signal", "SIGKILL"))
    if "secs" in options:
        threading.Timer(options["secs"], lambda: os.kill(os.getpid(), die)).start()
    manager = ckptkit.CheckpointManager(
        options["run"], state, save=ckptkit.EveryNSteps(options.get("save", 2))
    )
    losses = Path("losses.jsonl").open("a")  # noqa: SIM115 (open until the process ends)
    done = 0
    with manager:
        for _ in manager.epochs(options.get("epochs", 3)):
            if options.get("reset"):
                state["metric"].reset_state()
            for batch in manager.data(data, **given):
                loss = step(batch)
                losses.write(json.dumps([manager.position.step + 1, float(loss).hex()]) + "\n")
                losses.flush()
                done += 1
                if done == options.get("die"):
                    os.kill(os.getpid(), die)
    Path("result.json").write_text(json.dumps({"digest": digest(state)}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
