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
        found.append(sorted(operations.eager))
        made.train_function(iter(tf.data.Dataset.from_tensors((x, y))))
        assert sorted(operations.eager) == found[-1]
    assert found == [[], [], ["RandomStandardNormal"]], found
    with tf_random.EagerOperations() as operations:
        tf.random.normal((2,))
    assert operations.eager == {"RandomStandardNormal"}
    operations.eager.clear()
    tf.random.normal((2,))
    assert operations.eager == set(), "it listens in its block only"
    traces = []

    @tf.function
    def inner(x):
        traces.append(len(traces))
        return tf.cond(tf.size(x) > 1, lambda: x + tf.random.uniform(tf.shape(x)), lambda: x)

    outer = tf.function(lambda x: inner(x) * 2)
    for _ in range(2):  # traced in the block, and before it
        with tf_random.EagerOperations() as operations:
            outer(x)
        assert operations.traced == {"RandomUniform"}, operations.traced
        assert operations.eager == set()
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


def _drawn():
    """What the seeds of the context decide: an eager operation, and a new dataset's order."""
    order = tf.data.Dataset.range(100).shuffle(100).as_numpy_iterator()
    return [tf.random.normal((3,)).numpy().tolist(), list(order)]


def eager_random():
    assert tf_random.eager_random() == {"seed": None, "generator": None, "global": None}
    tf.random.normal((2,))
    assert tf_random.eager_random()["seed"] is None
    tf.random.set_seed(5)
    first = tf_random.eager_random()
    assert first["seed"] == 5
    assert (tf_random.eager_random()["generator"][1] == first["generator"][1]).all()
    _drawn()
    assert any(tf_random.eager_random()["generator"][1] != first["generator"][1]) or (
        tf_random.eager_random()["generator"][2] != first["generator"][2]
    )
    tf.random.get_global_generator().normal((2,))
    assert tf_random.eager_random()["global"] is not None
    # The seeds that TensorFlow has drawn itself are told from those that the program gives.
    for draw, expected in (
        (lambda: tf.random.normal((2,)), set()),
        (lambda: tf.random.normal((2,), seed=7), {"RandomStandardNormal"}),
        (lambda: (tf.random.set_seed(6), tf.random.uniform((2,))), set()),
        (lambda: tf.function(lambda: tf.random.uniform((2,)))(), {"RandomUniform"}),
    ):
        with tf_random.EagerOperations() as operations:
            draw()
        assert operations.eager | operations.traced == expected, operations


def set_eager_random():
    tf.random.set_seed(5)
    generator = tf.random.get_global_generator()
    _drawn()
    state = tf_random.eager_random()
    after = [_drawn(), generator.normal((2,)).numpy().tolist()]
    for another in (5, 6):
        tf.random.set_seed(another)
        tf_random.set_eager_random(state)
        assert [_drawn(), generator.normal((2,)).numpy().tolist()] == after
    tf.random.set_global_generator(tf.random.Generator.from_seed(1, alg="threefry"))
    tf_random.set_eager_random(state)
    assert tf.random.get_global_generator().normal((2,)).numpy().tolist() == after[1]
    tf_random.set_eager_random({"seed": None, "generator": None, "global": None})
    assert tf_random.eager_random()["seed"] == 5


def program_seed():
    assert tf_random.program_seed() is None
    tf.random.set_seed(7)
    assert tf_random.program_seed() == 7


def has_seeded_again():
    assert not tf_random.has_seeded_again()
    found = []
    tf.random.set_seed(7)
    state = tf_random.eager_random()
    for happens in (
        lambda: None,
        lambda: tf.random.normal((2,)),
        lambda: tf.random.set_seed(7),
        lambda: tf_random.set_eager_random(state),
        lambda: keras.utils.set_random_seed(8),
    ):
        happens()
        found.append(tf_random.has_seeded_again())
    assert found == [True, False, True, False, True], found
    assert not tf_random.has_seeded_again()
