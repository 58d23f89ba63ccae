"""Two trainings that hold one of every kind of attribute, everywhere; see `test_state_census`."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.tracking import attribute_kinds
from tests.tracking.attribute_kinds import KINDS

STEPS, KILLED_AT = 4, 3
REPLACED_BY_KERAS = {"default", "counter", "ordered", "own dictionary", "cycle"}
"""Kinds that Keras and TensorFlow turn into containers of their own when assigned."""

IN_KERAS = [name for name in KINDS if name not in REPLACED_BY_KERAS]


def train_in_fit(directory: str, seed: int, kill: bool) -> dict[str, Any]:
    """Trains a model, with a metric, a layer and a callback that hold everything."""

    class Layer(keras.layers.Dense):
        pass

    class Metric(keras.metrics.MeanAbsoluteError):
        pass

    class Model(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            step = int(self.optimizer.iterations)
            for number, holder in enumerate(holders):
                attribute_kinds.train(holder, seed + 100 * step + number, names_of(holder))
            return super().train_step(data)

    class Callback(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            attribute_kinds.train(self, seed + batch, KINDS)
            if kill and batch + 1 == KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)

    def names_of(holder: Any) -> Any:
        return [name for name in IN_KERAS if holder is model or name not in WITH_VARIABLES]

    keras.utils.set_random_seed(1)
    layer, metric, callback = Layer(1), Metric(), Callback()
    model = Model([keras.Input((2,)), layer])
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=[metric], run_eagerly=True)
    holders = [model, layer, metric]
    for holder in holders:
        attribute_kinds.fill(holder, names_of(holder))
    attribute_kinds.fill(callback)
    model.optimizer.build(model.trainable_variables)
    reasons = collected_reasons()
    ours = ckptkit.CheckpointCallback(
        directory, save=ckptkit.EveryNSteps(1), background=False, export=False
    )
    x = np.ones((STEPS, 2), "float32")
    model.fit(x, x[:, :1], batch_size=1, verbose=0, shuffle=False, callbacks=[callback, ours])
    looked = {
        type(each).__name__: attribute_kinds.looked_at(each, names_of(each)) for each in holders
    }
    return {"reasons": reasons, **looked, "Callback": attribute_kinds.looked_at(callback)}


WITH_VARIABLES = {
    "variable",
    "Keras variable",
    "variables",
    "metric",
    "teacher",
    "TensorFlow generator",
    "Keras seeds",
    "table",
}
"""What is a weight or a metric of the model if a layer or a metric of it holds it."""


def train_in_a_loop(directory: str, seed: int, kill: bool) -> dict[str, Any]:
    """Trains with a module and a pipeline in `state` that hold everything."""

    class Module(tf.Module):
        pass

    class Pipeline:
        def get(self, step: int) -> int:
            attribute_kinds.train(self, seed + 50 + step)
            return step

    module, pipeline = Module(), Pipeline()
    attribute_kinds.fill(module, IN_KERAS)
    attribute_kinds.fill(pipeline)
    reasons = collected_reasons()
    manager = ckptkit.CheckpointManager(
        directory,
        {"module": module, "pipeline": pipeline},
        save=ckptkit.EveryNSteps(1),
        background=False,
    )
    with manager:
        for step in manager.steps(STEPS):
            attribute_kinds.train(module, seed + pipeline.get(step), IN_KERAS)
            if kill and step == KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)
    return {
        "reasons": reasons,
        "Module": attribute_kinds.looked_at(module, IN_KERAS),
        "Pipeline": attribute_kinds.looked_at(pipeline),
    }


def collected_reasons() -> list[str]:
    """Return a list that gets every line that ckptkit logs from now on."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("ckptkit").addHandler(handler)
    return lines
