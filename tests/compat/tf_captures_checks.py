"""Checks of `ckptkit/compat/tf_captures.py`: one function for each name."""

from __future__ import annotations

import gc

import tensorflow as tf

from ckptkit.compat import tf_captures, tf_checkpoint, tf_data
from tests.compat.small_model import model, x, y


def _captures(function):
    return tf_captures.captures_of(tf.function(function).get_concrete_function())


def Capture():
    """Whether a variable is written, also where an operation calls a function."""
    one, limit = tf.Variable([1.0]), tf.Variable(2.0)

    def write():
        return one.assign_add([1.0])

    for use, is_written in ((one.read_value, False), (write, True)):
        inner = tf.function(use)
        for function in (
            use,
            lambda inner=inner: inner() * 2.0,
            lambda use=use: tf.cond(limit > 1.0, use, lambda: tf.constant([0.0])),
            lambda use=use: tf.switch_case(tf.cast(limit, tf.int32), [use, use, use]),
            lambda use=use: tf.while_loop(lambda n: n < limit, lambda n: n + use()[0], [0.0]),
        ):
            found = [each for each in _captures(function) if each.variable is one]
            assert found == [tf_captures.Capture(one, is_written)], found
    (gathered,) = _captures(lambda: tf.gather(one, [0]))
    assert gathered == tf_captures.Capture(one, False)


def captures_of():
    """In the order of use, without deleted variables, and for each kind of stage."""
    late, early, brief = tf.Variable(1), tf.Variable(2), [tf.Variable(3)]
    function = tf.function(lambda: early + brief[0] + late).get_concrete_function()
    brief.clear()
    gc.collect()
    found = [id(each.variable) for each in tf_captures.captures_of(function)]
    assert found == [id(early), id(late)]
    for use, is_written in ((late.read_value, False), (lambda: late.assign_add(1), True)):
        for made in _STAGES:
            (found,) = _captures(lambda made=made, use=use: made(use).cardinality())
            assert found.variable is late
            assert found.is_written == is_written, (made(use), is_written)


_NUMBERS = tf.data.Dataset.range(3)

_STAGES = (
    lambda use: _NUMBERS.filter(lambda n: use() > 0),
    lambda use: _NUMBERS.flat_map(lambda n: _NUMBERS.map(lambda m: use())),
    lambda use: _NUMBERS.interleave(lambda n: _NUMBERS.map(lambda m: use())),
    lambda use: _NUMBERS.interleave(lambda n: _NUMBERS.map(lambda m: use()), num_parallel_calls=2),
    lambda use: _NUMBERS.map(lambda n: use()),
    lambda use: _NUMBERS.map(lambda n: use(), num_parallel_calls=2),
    lambda use: _NUMBERS.take_while(lambda n: use() > 0),
)
"""Pipelines with a stage whose function calls `use`."""


def unsavable_ops():
    """For each of these functions, it agrees with what TensorFlow refuses to save."""
    variable = tf.Variable(1, dtype=tf.int64)
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
    for function, expected in (
        (lambda n: n * 2, []),
        (lambda n: (tf.print(n), n)[1], []),
        (lambda n: table.lookup(n), []),
        (lambda n: (tf.debugging.assert_non_negative(n), n)[1], []),
        (lambda n: tf.random.uniform(()), ["RandomUniform"]),
        (lambda n: _NUMBERS.reduce(n, lambda a, b: a + b), ["ReduceDataset"]),
        (lambda n: next(iter(_NUMBERS.map(lambda m: m + n))), ["AnonymousIteratorV3"]),
        (lambda n: tf.cond(n > 1, lambda: variable + n, lambda: n), ["ReadVariableOp"]),
    ):
        data = tf.data.Dataset.range(3).map(function)
        found = tf_captures.unsavable_ops(tf_data.functions_of(data)[0].function)
        assert (found, _is_refused(iter(data))) == (expected, bool(expected)), found


def _is_refused(iterator):
    try:
        tf_checkpoint.serialize(iterator)
    except tf.errors.FailedPreconditionError:
        return True
    return False


def traced_functions():
    made = model()
    assert list(tf_captures.traced_functions(made.train_function)) == []
    made.fit(x, y, verbose=0)
    found = list(tf_captures.traced_functions(made.train_function))
    used = {id(each.variable) for function in found for each in tf_captures.captures_of(function)}
    assert {id(each.value) for each in made.trainable_variables} <= used, found
