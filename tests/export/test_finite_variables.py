"""A model with NaN is not published, unless that was asked for."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit

pytestmark = pytest.mark.xdist_group("exporting")


def network():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="head")])
    model.layers[0].bias.assign([np.nan])
    return model


class Module(tf.Module):
    def __init__(self):
        self.scale = tf.Variable([1.0, np.inf], name="scale")

    @tf.function(input_signature=[tf.TensorSpec((None, 2))])
    def __call__(self, x):
        return x * self.scale


@pytest.mark.parametrize(("make", "name"), [(network, "bias"), (Module, "scale")])
def test_what_is_not_finite_is_not_published(make, name, tmp_path):
    with pytest.raises(ckptkit.ExportError, match=rf"NaN or infinity in \S*{name}.*allow_nan=True"):
        ckptkit.export_saved_model(make(), tmp_path / "export")
    assert not list(tmp_path.glob("export/*"))


def test_it_is_published_if_that_was_asked_for(tmp_path):
    published = ckptkit.export_saved_model(network(), tmp_path / "export", allow_nan=True)
    assert np.isnan(ckptkit.load_exported(published)(np.ones((1, 4), "float32"))).all()


def test_a_mask_may_have_infinity(tmp_path):
    module = Module()
    module.scale = tf.Variable([1.0, -np.inf], trainable=False)
    assert ckptkit.export_saved_model(module, tmp_path / "export").is_dir()
