"""Checks of `ckptkit/compat/tf_functions.py`: one function for each name."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest
import tensorflow as tf
from keras import layers

from ckptkit.compat import tf_functions
from tests.compat.small_model import model


def computes_in_16_bits():
    inner = tf.function(lambda x: tf.cast(tf.cast(x, tf.bfloat16) * 2, tf.float32))
    spec = tf.TensorSpec([None], tf.float32)
    assert tf_functions.computes_in_16_bits(
        tf.function(lambda x: inner(x) + 1).get_concrete_function(spec)
    )
    assert not tf_functions.computes_in_16_bits(
        tf.function(lambda x: x + 1).get_concrete_function(spec)
    )


def functions_of():
    a, b = keras.Input((2,), name="zed"), keras.Input((2,), name="alpha")
    keras.Model([a, b], layers.Add()([a, b])).export("made", verbose=False)
    orders = [
        [spec.name for spec in tf.nest.flatten(each.structured_input_signature)]
        for each in tf_functions.functions_of(tf.saved_model.load("made"))
    ]
    assert ["zed", "alpha"] in orders, orders


def signatures_in():
    model().export("made", verbose=False)
    found, version = tf_functions.signatures_in(Path("made/saved_model.pb").read_bytes())
    assert list(found["serving_default"]["inputs"].values()) == [
        {"shape": [None, 4], "dtype": "float32"}
    ], found
    assert version == tf.__version__
    for content in (b"", b"no graph"):
        with pytest.raises(ValueError, match=r"."):
            tf_functions.signatures_in(content)
