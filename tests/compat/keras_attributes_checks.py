"""Checks of `ckptkit/compat/keras_attributes.py`: one function for each name."""

from __future__ import annotations

import keras
from keras import layers

from ckptkit.compat import keras_attributes
from tests.compat.small_model import model, x, y


def own_attributes():
    class Own(layers.Dropout):
        def __init__(self):
            super().__init__(0.5)
            self.mine = 1

    early, own = keras.callbacks.EarlyStopping("loss"), Own()
    made = model(own, layers.Dense(2), layers.BatchNormalization(), layers.Dense(1))
    made.fit(x, y, callbacks=[early], verbose=0)
    keras_objects = (made, *made.layers, made.optimizer, *made.metrics, early, keras.losses.Huber())
    for each in keras_objects:
        rest = vars(each).keys() - keras_attributes.own_attributes(type(each))
        assert rest == ({"mine"} if each is own else set()), each
    assert keras_attributes.own_attributes(type("Plain", (), {})) == frozenset()


def settings():
    assert {"rate", "seed", "noise_shape"} <= keras_attributes.settings(layers.Dropout)
    assert {"units", "use_bias"} <= keras_attributes.settings(layers.Dense)
    assert "filters" in keras_attributes.settings(layers.Conv2D), "of a base class in Keras"
    for kind in (layers.Dense, layers.Dropout, layers.Conv2D, keras.Sequential):
        found = keras_attributes.settings(kind)
        assert found <= keras_attributes.own_attributes(kind)
        assert not found & {"built", "trainable", "lora_enabled", "optimizer", "dtype_policy"}
    assert "lora_enabled" in keras_attributes.own_attributes(layers.Dense)
