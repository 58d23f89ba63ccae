"""Checks of `ckptkit/compat/tf_random_replacement.py`: one function for each name."""

from __future__ import annotations

import tensorflow as tf

from ckptkit.compat import tf_random_replacement

DRAWS = {
    "Multinomial": lambda: tf.random.categorical(tf.zeros([2, 5]), 7, dtype=tf.int32),
    "RandomGamma": lambda: tf.random.gamma([3], tf.constant([[0.5, 2.0]])),
    "RandomPoissonV2": lambda: tf.random.poisson([3], tf.constant([0.5, 2.0]), tf.int64),
    "RandomShuffle": lambda: tf.random.shuffle(tf.reshape(tf.range(40), [20, 2])),
    "RandomStandardNormal": lambda: tf.random.normal([2, 3], dtype=tf.float64),
    "RandomUniform": lambda: tf.random.uniform(tf.constant([2, 3]), dtype=tf.float16),
    "RandomUniformInt": lambda: tf.random.uniform([9], 2, 5000, tf.int64),
    "TruncatedNormal": lambda: tf.random.truncated_normal([2, 3]),
}
"""What makes each operation that is replaced."""


def _traced(draw, **options):
    concrete = tf.function(draw, **options).get_concrete_function()
    definition = concrete.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return concrete, {node.op for node in nodes}


def _with_seeds():
    """Return operations with seeds that count up, and the list of the operations' own seeds."""
    counter, own = tf.Variable(0), []

    def next_seed(of_operation):
        own.append(of_operation)
        return tf.stack([counter.assign_add(1), 0])

    return tf_random_replacement.ReplacedOperations(next_seed), own


def _check_each_operation():
    operations, _ = _with_seeds()
    assert DRAWS.keys() == tf_random_replacement.REPLACED_OPS
    for name, draw in DRAWS.items():
        before, made = _traced(draw)
        assert name in made
        operations.begin()
        for options in ({}, {"jit_compile": True}):
            if options and name in ("RandomGamma", "RandomPoissonV2"):
                continue  # XLA has neither the stateful nor the stateless kernels
            now, made = _traced(draw, **options)
            assert name not in made, (name, made)
            assert now.structured_outputs.dtype == before.structured_outputs.dtype, name
            first, second, usual = now().numpy(), now().numpy(), before().numpy()
            assert first.shape == second.shape == usual.shape, name
            assert (first != second).any(), name
        operations.end()
        assert name in _traced(draw)[1]


def _check_gradients():
    """Gamma has a gradient, and the others have none, as before."""
    operations, _ = _with_seeds()
    operations.begin()

    @tf.function
    def step(alpha):
        with tf.GradientTape() as tape:
            tape.watch(alpha)
            drawn = tf.reduce_mean(tf.random.gamma([20000], alpha))
        return tape.gradient(drawn, alpha)

    assert abs(float(step(tf.constant(3.0))) - 1) < 0.1  # the mean is alpha
    for draw in (
        lambda value: tf.random.shuffle(value),
        lambda value: tf.random.uniform([2], value[0], value[1]) - value[:1] * 0,
    ):

        @tf.function
        def gradient(value, draw=draw):
            with tf.GradientTape() as tape:
                tape.watch(value)
                drawn = tf.reduce_sum(draw(value))
            return tape.gradient(drawn, value)

        found = gradient(tf.constant([1.0, 2.0]))
        operations.end()
        usual = tf.function(gradient.python_function)(tf.constant([1.0, 2.0]))
        operations.begin()
        assert (found is None) == (usual is None), (found, usual)
    operations.end()


def _check_seeds_of_operations():
    operations, own = _with_seeds()
    operations.begin()
    _traced(lambda: tf.random.normal([2]))
    _traced(lambda: tf.random.normal([2], seed=5))
    tf.random.set_seed(3)
    _traced(lambda: tf.random.normal([2], seed=5))
    operations.end()
    assert own == [None, 5, None], own


def _check_several_users():
    """Two runs may be open, and be closed in any order."""
    first, firsts = _with_seeds()
    second, seconds = _with_seeds()
    first.begin()
    second.begin()
    first.end()
    _traced(lambda: tf.random.normal([2]))
    assert (len(firsts), len(seconds)) == (0, 1)
    second.end()
    assert "RandomStandardNormal" in _traced(lambda: tf.random.normal([2]))[1]


def ReplacedOperations():
    _check_each_operation()
    _check_gradients()
    _check_several_users()
    _check_seeds_of_operations()
