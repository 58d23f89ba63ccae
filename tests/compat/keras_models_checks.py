"""Checks of `ckptkit/compat/keras_models.py`: one function for each name."""

from __future__ import annotations

import re

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ckptkit.compat import keras_models
from tests.compat.small_model import model, x, y


def layers_of():
    class Nested(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [layers.Dense(1), {"a": layers.Dropout(0.1)}]
            self.inner = keras.Sequential([layers.ReLU()])

    nested = Nested()
    found = keras_models.layers_of(nested)
    assert found[0] is nested
    assert {type(layer).__name__ for layer in found} >= {
        "Nested",
        "Dense",
        "Dropout",
        "Sequential",
        "ReLU",
    }


def parts_of():
    inputs = keras.Input((2,))
    functional = keras.Model(inputs, layers.Dense(1)(inputs * 2.0))
    assert [type(part).__name__ for part in keras_models.parts_of(functional)] == [
        "InputLayer",
        "Multiply",
        "Dense",
    ]
    for made in (
        keras.Sequential([layers.ReLU(), layers.Dense(1)]),
        keras.Sequential([keras.Input((2,)), layers.ReLU(), layers.Dense(1)]),
    ):
        assert [type(part).__name__ for part in keras_models.parts_of(made)] == ["ReLU", "Dense"]

    class Own(layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = [layers.Dense(1), {"a": keras.Sequential([layers.ReLU()])}]

    assert [type(part).__name__ for part in keras_models.parts_of(Own())] == ["Dense", "Sequential"]


def set_trainable():
    class Outer(layers.Dense):
        def build(self, shape):
            super().build(shape)
            self.inner = layers.Dense(1)
            self.inner.build(shape)

    outer = Outer(1)
    outer.build((None, 2))
    for flag in (False, True):
        keras_models.set_trainable(outer, flag)
        assert outer.trainable is vars(outer)[keras_models.TRAINABLE] is flag
        assert outer.kernel.trainable is outer.bias.trainable is flag
        assert outer.inner.trainable
        assert outer.inner.kernel.trainable
    outer.trainable = False
    assert vars(outer)[keras_models.TRAINABLE] is outer.kernel.trainable is False


def trainable_flags():
    made = model(layers.Dense(3), layers.BatchNormalization(), layers.Dense(1))
    made.layers[0].trainable = False
    flags = keras_models.trainable_flags(made)
    assert flags == [False, False, True, True, False, False, True, True]
    trained = {id(weight) for weight in made.trainable_weights}
    assert flags == [id(weight) in trained for weight in made.weights]


def seed_generators_of():
    dropout = layers.Dropout(0.5)
    (generator,) = keras_models.seed_generators_of(dropout)
    assert generator.state is dropout.seed_generator.state is dropout.variables[0]
    assert keras_models.seed_generators_of(layers.Dense(1)) == []


def automatic_names():
    class OwnHTTPLayer(layers.Layer):
        def call(self, inputs):
            return inputs

    parts = [OwnHTTPLayer(), layers.Dense(1), layers.BatchNormalization(), layers.LSTM(1)]
    parts += [layers.Conv2DTranspose(1, 1), layers.PReLU(), layers.Dense(1, name="given")]
    given = keras.Input((2,))
    made = keras.Sequential(parts)
    found = keras_models.automatic_names(made)
    for each in (*parts[:-1], made, keras.Model(given, given)):
        assert re.sub(r"_\d+$", "", each.name) in found, each.name
    assert "given" not in found
    assert "own_http_layer" not in keras_models.automatic_names(model())


def build_from_spec():
    made = keras.Sequential([layers.Dense(3), layers.Dense(1)])
    made.compile("adam", "mse", metrics=["mae", keras.metrics.MeanSquaredError()])
    assert not made.built
    keras_models.build_from_spec(made, tf.data.Dataset.from_tensors((x, y)).element_spec)
    assert made.built
    assert made.optimizer.built
    assert keras_models.compile_metrics_built(made)
    names = [
        variable.path
        for variable in (*made.variables, *made.optimizer.variables, *made.metrics_variables)
    ]
    assert made.optimizer.iterations.numpy() == 0
    made.train_on_batch(x, y)
    assert names == [
        variable.path
        for variable in (*made.variables, *made.optimizer.variables, *made.metrics_variables)
    ]


def input_signature():
    signature = tf.nest.flatten(keras_models.input_signature(model()))
    assert [tuple(spec.shape) for spec in signature] == [(None, 4)]


def declares_inputs():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    lazy = keras.Sequential([keras.layers.Dense(1)])
    given = keras.Input((2,))
    assert [
        keras_models.declares_inputs(each)
        for each in (model(), keras.Model(given, given), Own(), lazy)
    ] == [True, True, False, False]
    lazy(np.ones((2, 3)))
    assert keras_models.declares_inputs(lazy)


def arguments_of_loss():
    assert keras_models.arguments_of_loss(keras.losses.Huber(delta=3.0)) == {"delta": 3.0}
    assert (
        keras_models.arguments_of_loss(keras.losses.BinaryCrossentropy(label_smoothing=0.25))[
            "label_smoothing"
        ]
        == 0.25
    )
    assert (
        keras_models.arguments_of_loss("mse")
        == keras_models.arguments_of_loss(keras.losses.mean_squared_error)
        == {}
    )


def compile_metrics_built():
    made = model(metrics=["mae"])
    assert not keras_models.compile_metrics_built(made)
    made.test_on_batch(x, y)
    assert keras_models.compile_metrics_built(made)
    assert keras_models.compile_metrics_built(model())
    assert keras_models.compile_metrics_built(keras.Sequential([layers.Dense(1)]))


def metric_directions():
    made = model(metrics=["mae", keras.metrics.BinaryAccuracy(name="right")])
    # Before the first step, a metric given by name is not made yet.
    assert keras_models.metric_directions(made) == {"right": "max"}
    made.test_on_batch(x, y)
    assert keras_models.metric_directions(made) == {"mae": "min", "right": "max"}
    assert keras_models.metric_directions(keras.Sequential([layers.Dense(1)])) == {}
