"""Checks of `ckptkit/compat/tf_tensors.py`: one function for each name."""

from __future__ import annotations

import keras
import tensorflow as tf

from ckptkit.compat import tf_tensors


def tensor_count():
    variable = keras.Variable(1.0)
    batches = iter(tf.data.Dataset.range(3))
    number = tf.constant(1.0)
    train = tf.function(lambda: variable.value.assign_add(1.0))
    train()

    def steps_of(action):
        before = tf_tensors.tensor_count()
        action()
        return tf_tensors.tensor_count() - before

    assert steps_of(lambda: None) == 1
    assert steps_of(lambda: [float(number), str(number), number.shape]) == 1
    for action in (
        lambda: next(batches),
        lambda: variable.assign(2.0),
        lambda: number + number,
        lambda: keras.random.normal((2,)),
        train,
    ):
        assert steps_of(action) > 1
