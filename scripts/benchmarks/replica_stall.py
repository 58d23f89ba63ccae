"""How long a save stops training: on one device, and under a strategy with two replicas.

Usage: replica_stall.py [MEGABYTES]

Both are measured in turn in one process. Each save has a state that training has changed since the
one before, and the writer has finished.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import ckptkit
from ckptkit.tracking.snapshot import take_snapshot
from ckptkit.tracking.tracker import Tracker

ROUNDS = 10
VARIABLES = 60


def state_of(megabytes: int) -> dict[str, Any]:
    """Return a state of trained variables, their slots, statistics and a metric.

    Args:
        megabytes: the size of all of it.
    """
    size = megabytes * 1_000_000 // 4 // VARIABLES // 3  # a weight and two slots of Adam each
    weights = [keras.Variable(tf.zeros(size)) for _ in range(VARIABLES)]
    optimizer = keras.optimizers.Adam()
    optimizer.build(weights)
    statistics_of = keras.layers.BatchNormalization()
    statistics_of.build((None, 64))
    return {
        "weights": weights,
        "optimizer": optimizer,
        "statistics": statistics_of,
        "metric": keras.metrics.Mean(),
    }


def trainer(state: dict[str, Any], strategy: Any) -> Any:
    """Return a function that changes everything, as a step of training does."""

    def step() -> None:
        gradients = [tf.ones_like(weight.value) for weight in state["weights"]]
        state["optimizer"].apply(gradients, state["weights"])
        state["metric"].update_state(1.0)

    return tf.function(lambda: strategy.run(step))


def main(megabytes: int) -> None:
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategies = {
        "one device": tf.distribute.get_strategy(),
        "two replicas": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    }
    states, trackers, managers, trainers = {}, {}, {}, {}
    directory = Path(tempfile.mkdtemp())
    for name, strategy in strategies.items():
        with strategy.scope():
            states[name] = state_of(megabytes)
        trackers[name] = Tracker(states[name])
        trainers[name] = trainer(states[name], strategy)
        trainers[name]()
        managers[name] = ckptkit.CheckpointManager(directory / name, states[name])
        managers[name].restore_or_initialize()
    snapshots: dict[str, list[float]] = {name: [] for name in strategies}
    saves: dict[str, list[float]] = {name: [] for name in strategies}
    for number in range(ROUNDS):
        for name in strategies:
            trainers[name]()
            began = time.perf_counter()
            taken = take_snapshot(trackers[name].track_now())
            snapshots[name].append(time.perf_counter() - began)
            del taken
            trainers[name]()
            began = time.perf_counter()
            managers[name].save(number + 1)
            saves[name].append(time.perf_counter() - began)
            managers[name].wait_until_finished()
    for manager in managers.values():
        manager.close()
    for what, seconds in (("snapshot", snapshots), ("save", saves)):
        medians = {name: 1e3 * statistics.median(each[1:]) for name, each in seconds.items()}
        firsts = {name: 1e3 * each[0] for name, each in seconds.items()}
        shown = "; ".join(
            f"{name} {medians[name]:.2f} ms (the first {firsts[name]:.2f})" for name in medians
        )
        print(f"{what}: {shown}; {medians['two replicas'] / medians['one device']:.2f} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 250)
