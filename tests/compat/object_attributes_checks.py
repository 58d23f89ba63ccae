"""Checks of `ckptkit/compat/object_attributes.py`: one function for each name."""

from __future__ import annotations

import collections

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ckptkit.compat import object_attributes
from tests.compat.small_model import model, x, y


def slots_of():
    class Slotted:
        __slots__ = ("__weakref__", "a")

    class More(Slotted):
        __slots__ = "b"

    assert set(object_attributes.slots_of(More)) == {"a", "b"}


def not_followed():
    made = model(layers.Dense(3), layers.Dropout(0.1), layers.Dense(1))
    made.fit(x, y, verbose=0)
    checkpoint = tf.train.Checkpoint(a=tf.Variable(1.0))
    checkpoint.save("made")
    # What is left out is there: where a name has gone, nothing is to be left out under it.
    everywhere = {name for layer in (made, *made.layers) for name in vars(layer)}
    assert {
        "_tracker",
        "_inbound_nodes",
        "_outbound_nodes",
        "_lock",
        "train_function",
        "test_function",
        "_compile_config",
    } <= everywhere
    assert object_attributes.not_followed(made) - everywhere <= {
        "_auto_config",
        "_distribute_strategy",
    }
    assert "_save_counter" in vars(checkpoint)
    assert "save_counter" in tf.train.TrackableView.children(checkpoint)
    assert (
        object_attributes.not_followed(object())
        == object_attributes.not_followed(tf.Module())
        == frozenset()
    )


def attributes():
    class Slots:
        __slots__ = ("a", "unset")

    class More(Slots):
        def __init__(self):
            self.b, self.a = 1, 2

    assert list(object_attributes.attributes(More())) == [("b", 1), ("a", 2)]
    made = model()
    assert {"_layers", "optimizer", "_loss_tracker"} <= set(
        dict(object_attributes.attributes(made))
    ), "where layers, optimizer and metrics are found"


def is_installed():
    class Own(layers.Layer):
        pass

    made = model()
    of_keras = {type(each) for each in (made, *made.layers, made.optimizer, made.loss)}
    of_tensorflow = {type(tf.Variable(1.0)), type(tf.constant(1.0)), tf.Module, tf.data.Dataset}
    others = {dict, collections.OrderedDict, np.ndarray, h5py.File, keras.Variable}
    for kind in of_keras | of_tensorflow | others:
        assert object_attributes.is_installed(kind), kind
    assert not object_attributes.is_installed(Own)
    assert not object_attributes.is_installed(type("Typed", (), {"__module__": "__main__"}))
