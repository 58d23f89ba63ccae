"""Checks of `ckptkit/compat/tf_random.py`: one function for each name."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from ckptkit.compat import tf_random
from tests.compat.small_model import model, x, y


def stateful_random_ops():
    class Noise(layers.Layer):
        def call(self, x):
            return x + tf.random.normal(tf.shape(x)) + tf.random.uniform(tf.shape(x))

    found = []
    for made in (
        model(),
        model(layers.Dropout(0.5), layers.Dense(1)),
        model(Noise(), layers.Dense(1)),
    ):
        made.fit(x, y, verbose=0)
        found.append(tf_random.stateful_random_ops(made.train_function))
    assert found == [[], [], ["RandomStandardNormal", "RandomUniform"]], found


def EagerOperations():
    class Noise(layers.Layer):
        def call(self, x):
            return x + tf.random.normal(tf.shape(x))

    found = []
    for made in (
        model(),
        model(layers.Dropout(0.5), layers.Dense(1)),
        model(Noise(), layers.Dense(1)),
    ):
        made.compile("adam", "mse", run_eagerly=True)
        made.make_train_function()
        with tf_random.EagerOperations() as operations:
            made.train_function(iter(tf.data.Dataset.from_tensors((x, y))))
        found.append(sorted(operations.random))
        made.train_function(iter(tf.data.Dataset.from_tensors((x, y))))
        assert sorted(operations.random) == found[-1]
    assert found == [[], [], ["RandomStandardNormal"]], found
    with tf_random.EagerOperations() as operations:
        tf.random.normal((2,))
    assert operations.random == {"RandomStandardNormal"}
    operations.random.clear()
    tf.random.normal((2,))
    assert operations.random == set(), "it listens in its block only"
    traces = []

    @tf.function
    def inner(x):
        traces.append(len(traces))
        return tf.cond(tf.size(x) > 1, lambda: x + tf.random.uniform(tf.shape(x)), lambda: x)

    outer = tf.function(lambda x: inner(x) * 2)
    for _ in range(2):  # traced in the block, and before it
        with tf_random.EagerOperations() as operations:
            outer(x)
        assert operations.random == {"RandomUniform"}, operations.random
    assert traces == [0]


def global_seed():
    import random

    before = random.getstate()
    assert tf_random.global_seed() is None
    assert random.getstate() == before
    keras.utils.set_random_seed(3)
    first = keras.random.uniform((2,)).numpy()
    state = tf_random.global_seed()
    second = keras.random.uniform((2,)).numpy()
    tf_random.set_global_seed(state)
    assert (keras.random.uniform((2,)).numpy() == second).all()
    assert (first != second).all()


def set_global_seed():
    keras.random.uniform((2,))
    state = tf_random.global_seed()
    after = keras.random.uniform((2,)).numpy()
    keras.utils.clear_session()
    tf_random.set_global_seed(state)
    assert (tf_random.global_seed() == state).all()
    assert (keras.random.uniform((2,)).numpy() == after).all()
