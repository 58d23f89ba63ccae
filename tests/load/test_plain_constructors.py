"""Layers whose constructor takes no `name`, `dtype` or `trainable`, as tutorials write them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import ckptkit
from tests.load.conftest import bits, saved_in

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


class Twice(keras.layers.Layer):
    """Takes nothing at all."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(3)

    def build(self, shape):
        self.inner.build(shape)
        super().build(shape)

    def call(self, x):
        return 2 * self.inner(x)


@keras.saving.register_keras_serializable("tests.plain")
class Scale(keras.layers.Layer):
    """Takes an argument of its own only; registered, so that nobody has to pass it."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return self.factor * x


def model() -> keras.Model:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        frozen = Twice()
    finally:
        keras.config.set_dtype_policy("float32")
    frozen.name, frozen.trainable = "frozen", False
    source = keras.Input((3,))
    built = keras.Model(source, Scale(3.0)(frozen(source)))
    built.compile("sgd", "mse")
    return built


@pytest.mark.parametrize("form", ["run", "model.keras", "model.h5"])
def test_such_a_layer_is_built_with_its_name_type_and_trainable(form, tmp_path):
    saved = model()
    source = saved_in(form, saved, tmp_path)
    again = ckptkit.load_model(source, custom_objects={"Twice": Twice})
    layer = again.get_layer("frozen")
    assert type(layer) is Twice
    assert (layer.trainable, layer.dtype_policy.name) == (False, "mixed_bfloat16")
    assert type(again.layers[2]) is Scale
    assert bits(again) == bits(saved)
    assert np.array_equal(again(X), saved(X))


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(2)

    def call(self, x):
        return self.head(x)


@pytest.mark.parametrize("form", ["run", "model.keras"])
def test_such_a_model(form, tmp_path):
    saved = Net()
    saved(X)
    saved.compile("sgd", "mse")
    again = ckptkit.load_model(saved_in(form, saved, tmp_path), custom_objects={"Net": Net})
    assert type(again) is Net
    assert np.array_equal(again(X), saved(X))


class Lossy(keras.layers.Layer):
    """Stores an argument that its constructor does not take."""

    def __init__(self):
        super().__init__()

    def get_config(self):
        return {**super().get_config(), "units": 3}

    def call(self, x):
        return x


def test_an_argument_of_its_own_that_it_does_not_take_is_still_an_error(tmp_path):
    source = keras.Input((3,))
    saved = keras.Model(source, keras.layers.Dense(2)(Lossy()(source)))
    with pytest.raises(ckptkit.ConfigError, match="units"):
        ckptkit.load_model(
            saved_in("model.keras", saved, tmp_path), custom_objects={"Lossy": Lossy}
        )
