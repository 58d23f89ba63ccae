"""A loop on several workers; it writes what it saw and ended with, for each worker."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything touches the devices

import keras  # noqa: E402
import numpy as np  # noqa: E402

import ckptkit  # noqa: E402

FEATURES = 4


class CollectiveReadError(BaseException):
    """ckptkit has read a value that only all workers together can compute."""


def forbid_collective_reads() -> None:
    """Fail if ckptkit reads the sum of all workers: on one worker alone that hangs."""
    from tensorflow.python.distribute import values

    plain = values.SyncOnReadVariable._get_cross_replica

    def checked(self: Any) -> Any:
        callers = "".join(traceback.format_stack())
        if str(Path(ckptkit.__file__).parent) in callers:
            raise CollectiveReadError(callers)
        return plain(self)

    values.SyncOnReadVariable._get_cross_replica = checked


def make(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the state by name, and the function that trains on the batch of a worker."""
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.Adam(1e-2, beta_1=options.get("beta", 0.9))
    metric = keras.metrics.Mean()
    count = tf.Variable(
        0.0,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )
    weights = model.trainable_variables

    def train(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        optimizer.apply(tape.gradient(loss, weights), weights)
        metric.update_state(loss)
        count.assign_add(tf.cast(tf.shape(x)[0], tf.float32))
        return loss

    return {"model": model, "optimizer": optimizer, "metric": metric, "count": count}, train


def digest(state: dict[str, Any]) -> str:
    """SHA-256 over this worker's values of all variables, and its random states."""
    variables = [*state["model"].variables, *state["metric"].variables, state["count"]]
    sha = hashlib.sha256()
    for variable in [*variables, *state["optimizer"].variables]:
        raw = getattr(variable, "value", variable)
        raw = raw if isinstance(raw, tf.distribute.DistributedValues) else variable
        for component in strategy.experimental_local_results(raw):
            sha.update(np.asarray(component).tobytes())
    sha.update(repr((random.random(), np.random.random())).encode())
    return sha.hexdigest()


def data(rank: int, workers: int) -> tf.data.Dataset:
    x = np.random.default_rng(1).random((80, FEATURES)).astype("float32")
    found = tf.data.Dataset.from_tensor_slices((x, x.sum(1, keepdims=True)))
    return found.shard(workers, rank).shuffle(80, seed=3)


def policy(name: str, *arguments: Any) -> Any:
    return getattr(ckptkit, name)(*arguments)


def main(options: dict[str, Any]) -> None:
    forbid_collective_reads()
    resolver = strategy.cluster_resolver
    rank, workers = resolver.task_id, len(resolver.cluster_spec().as_dict()["worker"])
    for name, value in (options.get("only", {}).get(str(rank), {})).items():
        options[name] = value
    keras.utils.set_random_seed(5)
    random.seed(rank)
    with strategy.scope():
        state, train = make(options)

    @tf.function
    def step(x: Any, y: Any) -> Any:
        losses = strategy.run(train, args=(x, y))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    dies = options.get("die", {}).get(str(rank))
    die = getattr(signal, options.get("signal", "SIGKILL"))
    if "secs" in options and options.get("who") == rank:
        threading.Timer(options["secs"], lambda: os.kill(os.getpid(), die)).start()
    here = Path(options["out"])
    losses = (here / f"losses-{rank}.jsonl").open("a")
    dataset = data(rank, workers)
    batches = iter(dataset.repeat().batch(4))
    if options.get("loop", "steps") != "epochs":
        state["batches"] = batches
    manager = ckptkit.CheckpointManager(
        options["run"],
        state,
        save=policy(*options.get("save", ["EveryNSteps", 3])),
        keep=ckptkit.KeepLatest(2),
        preemption=ckptkit.Preemption(grace_secs=60),
    )
    done = 0

    def note(loss: Any) -> None:
        nonlocal done
        random.random(), np.random.random()
        losses.write(json.dumps([manager.position.step + 1, float(loss).hex()]) + "\n")
        losses.flush()
        done += 1
        if done == dies:
            os.kill(os.getpid(), die)
        if "pause" in options:
            time.sleep(options["pause"])

    with manager:
        (here / f"started-{rank}").write_text(str(manager.position.step))
        if options.get("loop", "steps") == "steps":
            for _ in manager.steps(options.get("steps", 12)):
                note(step(*next(batches)))
        elif options["loop"] == "save":
            for number in range(manager.position.step + 1, options["steps"] + 1):
                note(step(*next(batches)))
                manager.save(number)
        else:
            for _ in manager.epochs(options.get("epochs", 3)):
                for x, y in manager.data(dataset.batch(8)):
                    note(step(x, y))
                manager.log(val_loss=float(len(losses.name)))
    (here / f"result-{rank}.json").write_text(json.dumps({"digest": digest(state)}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
