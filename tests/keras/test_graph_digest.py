"""The digest of a graph changes with the computation, and not with the names in it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ckptkit.export.signatures import find_endpoints
from ckptkit.export.trace import trace

ONE, OTHER = (
    tf.Variable(np.arange(3.0, dtype="float32")),
    tf.Variable(np.arange(3.0, 6.0, dtype="float32")),
)
NEAR, FAR = tf.constant(np.float32(0.5)), tf.constant(np.float32(0.7))


def looped(times, step):
    def function(x):
        for _ in tf.range(times):
            x = x + step
        return x

    return function


def either(yes, no):
    return lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x * yes, lambda: x * no)


def inner(factor):
    @tf.function
    def scaled(x):
        return x * factor

    return lambda x: scaled(x) + 1


def counting(amount):
    def function(x):
        ONE.assign_add([amount, 0, 0])
        return x

    return function


def rounded(gradient):
    @tf.custom_gradient
    def function(x):
        return tf.round(x), lambda upstream: upstream * gradient

    return function


CHANGES = {
    "an operation": (lambda x: x + ONE, lambda x: x - ONE),
    "a constant": (lambda x: x * 2, lambda x: x * 3),
    "a constant that is closed over": (lambda x: x > NEAR, lambda x: x > FAR),
    "a variable of the same form": (lambda x: x * ONE, lambda x: x * OTHER),
    "which comes first": (lambda x: x - ONE, lambda x: ONE - x),
    "which output of an operation": (lambda x: tf.split(x, 3)[0], lambda x: tf.split(x, 3)[1]),
    "an attribute": (lambda x: tf.reduce_sum(x, keepdims=True)[0], lambda x: tf.reduce_sum(x)),
    "a loop": (looped(3, 1.0), looped(3, 2.0)),
    "how often": (looped(3, 1.0), looped(4, 1.0)),
    "a branch": (either(1.0, 2.0), either(1.0, 3.0)),
    "a function that is called": (inner(2.0), inner(3.0)),
    "what is done to a variable": (counting(1.0), counting(2.0)),
}


def graph(function):
    (endpoint,) = find_endpoints(function, None, np.ones(3, "float32"))
    return trace(endpoint).graph


@pytest.mark.parametrize("name", CHANGES)
def test_a_change(name):
    before, after = CHANGES[name]
    known = graph(before)
    assert graph(before) == known, "traced again, with other numbers in its names"
    assert graph(after) != known


def test_what_is_for_training_only_is_no_change():
    assert graph(rounded(1.0)) == graph(rounded(2.0))
