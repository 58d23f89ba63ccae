"""Checks of `ckptkit/compat/keras_saving.py`: one function for each name."""

from __future__ import annotations

import json

import keras
import pytest
import tensorflow as tf
from keras import layers

from ckptkit.compat import keras_saving
from tests.compat.small_model import model, x, y


def addresses_in_h5():
    import h5py

    made = model(
        layers.Dense(3),
        keras.Sequential([layers.Dense(2), layers.BatchNormalization()]),
        layers.Dense(1),
    )
    made.fit(x, y, verbose=0)
    made.save_weights("made.weights.h5")
    found = keras_saving.addresses_in_h5(made)
    with h5py.File("made.weights.h5") as file:
        for variable in made.weights:
            address, name = found[id(variable)]
            assert file[address][()].tobytes() == variable.numpy().tobytes(), address
            assert file[address].parent.attrs["name"] == name.rpartition("/")[0]


def serialized_model():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    made = keras.Model(inputs, layers.Dense(1)(shared(shared(inputs))))
    made.compile(keras.optimizers.SGD(0.25), "mse")
    config = json.loads(json.dumps(keras_saving.serialized_model(made)))
    assert config["class_name"] == "Functional"
    assert config["build_config"]
    assert config["compile_config"]["loss"] == "mse"


def deserialized_model():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    made = keras.Model(inputs, layers.Dense(1)(shared(shared(inputs))))
    made.compile(keras.optimizers.SGD(0.25), "mse")
    again = keras_saving.deserialized_model(
        json.loads(json.dumps(keras_saving.serialized_model(made))), None
    )
    assert again.compiled
    assert again.built
    assert len(again.weights) == len(made.weights) == 4
    assert float(again.optimizer.learning_rate) == 0.25
    trap = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x)])
    # Nothing in a configuration becomes code.
    with pytest.raises(ValueError, match=r"(?i)lambda"):
        keras_saving.deserialized_model(keras_saving.serialized_model(trap), None)


def legacy_weights():
    import h5py

    made = model(layers.Dense(3), layers.BatchNormalization(), layers.Dense(1))
    made.save("made.h5")
    with h5py.File("made.h5") as file:
        for layer in made.layers:
            saved = list(file["model_weights"][layer.name].attrs["weight_names"])
            assert saved == [variable.path for variable in keras_saving.legacy_weights(layer)]


def own_weights():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.gain = self.add_weight(shape=(1,), name="gain")
            self.dense = layers.Dense(1)

        def call(self, inputs):
            return self.dense(inputs) * self.gain

    made = Own()
    made(x)
    assert keras_saving.own_weights(made) == [made.gain]
    assert len(made.weights) == 3


def pending_shape():
    seen = []

    def make(next_creator, **arguments):
        seen.append(keras_saving.pending_shape(arguments["initial_value"]))
        return next_creator(**arguments)

    with tf.variable_creator_scope(make):
        layers.Dense(5).build((None, 7))
        tf.Variable(1.0)
    assert seen == [((7, 5), "float32"), ((5,), "float32"), None], seen
