"""Models, and each of them saved in every way there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from tests.support import checkers


def network(
    head: int = 2, *, seed: int | None = None, kind: str = "sequential", batch_norm: bool = True
) -> keras.Model:
    """A model with weights in every place: nested, shared, moving averages, in a list."""
    if seed is not None:
        keras.utils.set_random_seed(seed)
    layers = keras.layers
    if kind == "subclassed":
        return Blocks(head)
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(6, activation="tanh"), layers.Dropout(0.3)]
    )
    body = [
        layers.Dense(6),
        *([layers.BatchNormalization()] if batch_norm else []),
        inner,
        layers.Dense(head),
    ]
    if kind == "sequential":
        return keras.Sequential([keras.Input((4,)), *body])
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    shared = layers.Dense(4)
    x = layers.Concatenate()([shared(first), shared(second)])
    for layer in body:
        x = layer(x)
    return keras.Model([first, second], x)


class Blocks(keras.Model):
    """Layers in a plain list, which TensorFlow's own checkpoints do not follow."""

    def __init__(self, head: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.blocks = [keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(5)]
        self.head = keras.layers.Dense(head)
        self(np.zeros((1, 4), "float32"))

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def trained(model: keras.Model, *callbacks: Any, epochs: int = 1) -> keras.Model:
    """The model after some steps, so that nothing in it is zero."""
    rng = np.random.default_rng(5)
    x = [
        rng.normal(size=(16, 4)).astype("float32")
        for _ in range(len(getattr(model, "inputs", None) or [None]))
    ]
    x = x if len(x) > 1 else x[0]
    y = rng.normal(size=(16, 1)).astype("float32")
    model.compile("adam", "mse")
    model.fit(x, y, epochs=epochs, verbose=0, batch_size=4, callbacks=list(callbacks))
    return model


def bits(model: keras.Model) -> list[bytes]:
    """The values of a model's weights."""
    return [variable.numpy().tobytes() for variable in model.weights]


def saved_in(form: str, model: keras.Model, directory: Path) -> Path:
    """The model, saved in one way; returns what a user would hand over."""
    directory.mkdir(parents=True, exist_ok=True)
    if form in ("model.keras", "model.weights.h5", "model.h5"):
        (model.save_weights if form == "model.weights.h5" else model.save)(directory / form)
        return directory / form
    if form in ("run", "checkpoint of a run", "prefix of a run"):
        with ckptkit.CheckpointManager(directory / "run", {"model": model}) as manager:
            manager.save(1)
        checkpoint = ckptkit.open_run(directory / "run").find()
        return {
            "run": directory / "run",
            "checkpoint of a run": checkpoint.path,
            "prefix of a run": checkpoint.prefix,
        }[form]
    if form == "prefix":
        return Path(tf.train.Checkpoint(model=model).write(str(directory / "prefix")))
    if form == "root":
        return Path(tf.train.Checkpoint(model).write(str(directory / "root")))
    if form == "directory":
        tf.train.CheckpointManager(
            tf.train.Checkpoint(net=model, step=tf.Variable(1)),
            str(directory / "checkpoints-of-tf"),
            max_to_keep=2,
        ).save()
        return directory / "checkpoints-of-tf"
    if form == "exported":
        return ckptkit.export_saved_model(model, directory / "export")
    if form == "versions":
        return ckptkit.export_saved_model(model, directory / "export").parent
    if form == "keras export":
        model.export(directory / "export", verbose=False)
        return directory / "export"
    assert form == "tf.saved_model.save", form
    tf.saved_model.save(model, str(directory / "export"))
    return directory / "export"


FORMS = [
    "run",
    "checkpoint of a run",
    "prefix of a run",
    "prefix",
    "root",
    "directory",
    "model.keras",
    "model.weights.h5",
    "model.h5",
    "exported",
    "versions",
    "keras export",
    "tf.saved_model.save",
]


@pytest.fixture(scope="package", autouse=True)
def _one_process_checks_all_exports():
    with checkers.using(checkers.shared()):
        yield


@pytest.fixture(autouse=True)
def _names_begin_anew():
    yield
    keras.backend.clear_session()
