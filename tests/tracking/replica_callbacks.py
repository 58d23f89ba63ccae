"""A training under a strategy with a callback that has a variable with a value per replica."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

import ckptkit
from tests.campaigns.replicas.devices import mirrored


class Counts(keras.callbacks.Callback):
    """Counts something else on each replica; TensorFlow reads the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.total = tf.Variable(
            0.0,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
        self.at_start: list[float] = []

    def values(self) -> list[float]:
        found = (self.total,)
        if isinstance(self.total, tf.distribute.DistributedValues):
            found = self.total.distribute_strategy.experimental_local_results(self.total)
        return [float(each.numpy()) for each in found]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.at_start = self.at_start or self.values()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        found = self.total.distribute_strategy.experimental_local_results(self.total)
        for number, each in enumerate(found):
            each.assign_add(10.0**number)


def train(directory: str, devices: int, epochs: int) -> list[float]:
    """Train up to an epoch, and return the callback's values when training began."""
    with mirrored(devices).scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        counts = Counts()
    model.fit(
        tf.ones((8, 2)),
        tf.ones((8, 1)),
        epochs=epochs,
        verbose=0,
        callbacks=[counts, ckptkit.CheckpointCallback(directory, save=ckptkit.EveryNEpochs(1))],
    )
    return counts.at_start
