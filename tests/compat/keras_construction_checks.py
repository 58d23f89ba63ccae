"""Checks of `ckptkit/compat/keras_construction.py`: one function for each name."""

from __future__ import annotations

import copy

import keras
import pytest
from keras import layers

from ckptkit.compat import keras_construction


class _Sized(layers.Layer):
    """A layer whose constructor takes no `name`, though its configuration has one."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {**super().get_config(), "size": self.size}


class _Nameless(_Sized):
    """A layer whose configuration has no name."""

    def get_config(self):
        return {"size": self.size}


def plain_constructors():
    given = _Sized(3)
    given.name, given.trainable, given.dtype_policy = "mine", False, "float16"
    for registered in (False, True):
        kind = keras.saving.register_keras_serializable()(_Sized) if registered else _Sized
        config, own = keras.saving.serialize_keras_object(given), {"_Sized": kind}
        with pytest.raises(TypeError, match="_Sized"):
            keras.saving.deserialize_keras_object(config, custom_objects=own)
        with keras_construction.plain_constructors(None if registered else own) as classes:
            made = keras.saving.deserialize_keras_object(config, custom_objects=classes)
        assert (type(made), made.size, made.name, made.trainable) == (_Sized, 3, "mine", False)
        assert made.dtype_policy.name == "float16"
    assert keras.saving.get_registered_object("Custom>_Sized") is _Sized
    assert keras.config.dtype_policy().name == "float32"


def name_layers():
    inputs, nameless = keras.Input((2,), name="first"), _Nameless(3)
    nameless.name = "mine"
    # One of the operations is no layer.
    made = keras.Model(inputs, layers.Dense(1, name="last")(nameless(inputs * 2.0)))
    config = keras.saving.serialize_keras_object(made)
    again = keras.saving.deserialize_keras_object(
        copy.deepcopy(config),  # Keras takes it apart.
        custom_objects={"_Nameless": _Nameless},
    )
    names = [each.name for each in made.operations]
    assert names[2] == "mine"
    assert [each.name for each in again.operations] != names
    keras_construction.name_layers(again, config)
    assert [each.name for each in again.operations] == names
