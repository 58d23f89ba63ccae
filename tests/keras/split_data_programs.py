"""Trainings under a strategy that cannot be repeated bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import ckptkit
from tests.campaigns.replicas.devices import mirrored


class Noise(keras.layers.Layer):
    """Draws from an operation whose state is inside TensorFlow."""

    def call(self, x: Any) -> Any:
        return x + tf.random.normal(tf.shape(x))


def reasons(directory: str) -> dict[str, list[str]]:
    """Return by case why a `fit` was said to be inexact; one process trains them all."""
    strategy = mirrored(2)
    rows = tf.data.Dataset.from_tensor_slices((tf.ones((12, 2)), tf.ones((12, 1))))
    cases = {
        "exact": (rows.shuffle(9, seed=3).batch(4), keras.layers.Dense(1)),
        "no seed": (rows.shuffle(9).batch(4), keras.layers.Dense(1)),
        "random map": (
            rows.map(lambda x, y: (x + tf.random.normal((2,)), y)).batch(4),
            keras.layers.Dense(1),
        ),
        "random layer": (rows.batch(4), Noise()),
    }
    return {
        name: _reasons(Path(directory, name.replace(" ", "-")), strategy, data, layer)
        for name, (data, layer) in cases.items()
    }


def _reasons(run: Path, strategy: Any, data: Any, layer: Any) -> list[str]:
    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    model.fit(data, verbose=0, callbacks=[ckptkit.CheckpointCallback(run, export=False)])
    lines = (run / "journal" / "attempt-000001.jsonl").read_text().splitlines()
    return [event["reason"] for event in map(json.loads, lines) if event["event"] == "inexact"]


def required(directory: str) -> list[str]:
    """Require exactness of data without a seed.

    Returns:
        The error, and the checkpoints.
    """
    strategy = mirrored(2)
    rows = tf.data.Dataset.from_tensor_slices((tf.ones((12, 2)), tf.ones((12, 1))))
    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    callback = ckptkit.CheckpointCallback(directory, export=False, exact="require")
    try:
        model.fit(rows.shuffle(9).batch(4), verbose=0, callbacks=[callback])
    except ckptkit.ConfigError as error:
        steps = int(model.optimizer.iterations.value.numpy())
        return [str(error), *(f"trained {steps}" for _ in range(bool(steps)))]
    return []
