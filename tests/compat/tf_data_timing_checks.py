"""Checks of `ckptkit/compat/tf_data_timing.py`: one function for each name."""

from __future__ import annotations

import keras
import tensorflow as tf

from ckptkit.compat import tf_data_timing


def parallel_draws():
    """Operations of TensorFlow and variables, unless operations are deterministic."""
    numbers = tf.data.Dataset.range(3)
    noise, generator = keras.layers.GaussianNoise(0.5, seed=2), tf.random.Generator.from_seed(1)

    def kernel(x):
        return tf.random.uniform([], seed=3)

    def layer(x):
        return noise(tf.ones(2), training=True)

    seed = ["the variable 'gaussian_noise/seed_generator/seed_generator_state'"]
    for function, expected in (
        (kernel, ["RandomUniform"]),
        (layer, seed),
        (lambda x: generator.normal([]), ["the variable 'StateVar'"]),
        (lambda x: tf.random.stateless_uniform([], (1, x)), []),
    ):
        for workers in (2, tf.data.AUTOTUNE):
            found = tf_data_timing.parallel_draws(
                numbers.map(function, workers).batch(2).prefetch(1)
            )
            assert found == expected or (function is layer and len(found) == 1), found
        for calls in (1, None):
            assert tf_data_timing.parallel_draws(numbers.map(function, calls).batch(2)) == []
    inner = numbers.interleave(lambda x: numbers.map(kernel), num_parallel_calls=2)
    assert tf_data_timing.parallel_draws(inner) == ["RandomUniform"]
    tf.config.experimental.enable_op_determinism()
    assert tf_data_timing.parallel_draws(numbers.map(kernel, 2)) == []


def comes_in_any_order():
    numbers, options = tf.data.Dataset.range(3), tf.data.Options()
    options.deterministic = False
    outside = numbers.map(lambda x: x, 2, deterministic=False)

    def files(deterministic):
        return lambda x: tf.data.Dataset.range(x).map(
            lambda y: y, num_parallel_calls=2, deterministic=deterministic
        )

    for made, expected in (
        (numbers.map(lambda x: x, 2), False),
        (numbers.map(lambda x: x, 2, deterministic=False), True),
        (numbers.map(lambda x: x, 1, deterministic=False), False),
        (numbers.batch(2, num_parallel_calls=2, deterministic=False).prefetch(1), True),
        (numbers.map(lambda x: x).with_options(options), False),
        (numbers.map(lambda x: x, 2).with_options(options), True),
        (numbers.map(lambda x: x, 2, deterministic=True).with_options(options), False),
        (numbers.interleave(lambda x: numbers, num_parallel_calls=2).with_options(options), True),
        (numbers.flat_map(files(False)), True),
        (numbers.interleave(files(False), cycle_length=2).batch(2), True),
        (numbers.map(lambda x: x + outside.reduce(x, tf.add)), True),
        (numbers.flat_map(files(True)), False),
        (numbers.flat_map(files(None)), False),
        (numbers.flat_map(files(None)).with_options(options), True),
        (numbers.flat_map(files(True)).with_options(options), False),
    ):
        assert tf_data_timing.comes_in_any_order(made) == expected, made
