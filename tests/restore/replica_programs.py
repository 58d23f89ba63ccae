"""Programs that save a state on some devices, and restore it on others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.log import logger
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf
from tests.campaigns.exact.program import components
from tests.campaigns.replicas.devices import mirrored

ON_READ = tf.VariableSynchronization.ON_READ


def made(devices: int) -> dict[str, Any]:
    """Return a state with variables of each kind, in which no replica has been changed yet."""
    with mirrored(devices).scope():
        return parts()


def parts() -> dict[str, Any]:
    """Return the parts of the state, in the scope of a strategy or in none."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    module = tf.Module()
    module.mean = tf.Variable(
        0.0, trainable=False, synchronization=ON_READ, aggregation=tf.VariableAggregation.MEAN
    )
    module.first = tf.Variable(
        0.0,
        trainable=False,
        synchronization=ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    module.words = tf.Variable(["a", "b"], trainable=False)
    return {"model": model, "metric": keras.metrics.Mean(), "module": module}


def variables_of(state: dict[str, Any]) -> dict[str, Any]:
    statistics, module = state["model"].layers[0], state["module"]
    return {
        "gamma": statistics.gamma,
        "moving_mean": statistics.moving_mean,
        "total": state["metric"].total,
        "mean": module.mean,
        "first": module.first,
        "words": module.words,
    }


def values_of(state: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the values of all replicas, by name."""
    return {
        name: [_plain(each) for each in components(variable)]
        for name, variable in variables_of(state).items()
    }


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return (array.astype(str) if array.dtype == object else array).tolist()


def save(directory: str, devices: int) -> dict[str, list[Any]]:
    """Save a state whose replicas differ wherever TensorFlow lets them, and return the values."""
    state = made(devices)
    with ckptkit.CheckpointManager(directory, state) as manager:
        for name, variable in variables_of(state).items():
            if name in ("words", "gamma"):
                continue
            for number, component in enumerate(components(variable)):
                component.assign(tf.fill(component.shape, 10.0**number))
        variables_of(state)["gamma"].assign([0.1, 0.7])
        manager.save(1)
    return values_of(state)


def restore(directory: str, devices: int, exact: str = "warn") -> dict[str, Any]:
    """Return the values after a restore, and what was said to be inexact or refused."""
    state = made(devices)
    before = values_of(state)
    try:
        with ckptkit.CheckpointManager(directory, state, exact=exact) as manager:
            position = manager.position.step
    except ckptkit.ConfigError as error:
        return {"refused": str(error), "unchanged": values_of(state) == before}
    events = [
        line
        for file in sorted(Path(directory, "journal").glob("attempt-*.jsonl"))[-1:]
        for line in file.read_text().splitlines()
        if '"inexact"' in line
    ]
    return {"step": position, "values": values_of(state), "inexact": events}


def diverge(directory: str) -> list[Any]:
    """Let the replicas of a trained weight differ, before the first save and after it.

    Returns:
        What was read back, and the warnings.
    """
    state = made(2)
    said: list[str] = []
    logger.addHandler(_Collects(said))
    gamma = components(variables_of(state)["gamma"])
    found = []
    with ckptkit.CheckpointManager(directory, state, background=False) as manager:
        manager.save(1)
        gamma[1].assign([5.0, 6.0])
        for step in (2, 3):
            manager.save(step)
        found.append([each.numpy().tolist() for each in gamma])
    for each in gamma:
        each.assign([0.0, 0.0])
    with ckptkit.CheckpointManager(directory, state):
        found.append([each.numpy().tolist() for each in gamma])
    return [found, [line for line in said if "have become different" in line]]


def copied(directory: str) -> list[Any]:
    """Save and restore as from accelerators, from which each value is a copy.

    Returns:
        The values before and after.
    """
    ReplicatedLeaf.is_in_host_memory = False
    before = save(directory, 2)
    state = _made_again()
    with ckptkit.CheckpointManager(directory, state):
        return [before, values_of(state)]


def _made_again() -> dict[str, Any]:
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        return parts()


class _Collects(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: Any) -> None:
        self._said.append(record.getMessage())


def read_plainly(directory: str) -> dict[str, list[float]]:
    """Read a checkpoint with TensorFlow alone, by the documented keys."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(f"{directory}/checkpoints"))
    return {
        key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): np.ravel(reader.get_tensor(key)).tolist()
        for key in reader.get_variable_to_shape_map()
        if key.startswith(("model/", "metric/"))
    }
