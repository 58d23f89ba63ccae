"""Which pipelines another process can draw again, and how much they buffer by their description."""

from __future__ import annotations

import pytest
import tensorflow as tf

from ckptkit.compat import tf_data
from ckptkit.data.iterator_position import can_count

D = tf.data.Dataset


@pytest.fixture(autouse=True)
def _no_global_seed():
    """Other tests of this process may have set one."""
    tf.random.set_seed(None)


UNORDERED = {"num_parallel_calls": 2, "deterministic": False}


def rows(seed: int | None = 3) -> tf.data.Dataset:
    return D.range(40).shuffle(15, seed=seed)


def unordered() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = False
    return options


COUNTABLE = {
    "seeded": lambda: rows().batch(4),
    "two seeded shuffles": lambda: rows().shuffle(9, seed=5),
    "unseeded": lambda: rows(None).batch(4).prefetch(2),
    "parallel": lambda: rows().map(lambda x: x + 1, num_parallel_calls=2),
    "interleave": lambda: D.range(3).interleave(lambda x: D.range(3), num_parallel_calls=2),
    "cache": lambda: rows().cache(),
}
NOT_COUNTABLE = {
    "two unseeded shuffles": lambda: rows(None).shuffle(9),
    "unseeded after a cache": lambda: D.range(40).cache().shuffle(15),
    "unseeded random map": lambda: rows().map(lambda x: x + tf.random.uniform([], 0, 9, tf.int64)),
    "unordered map": lambda: rows().map(lambda x: x + 1, **UNORDERED),
    "unordered interleave": lambda: D.range(3).interleave(lambda x: D.range(3), **UNORDERED),
    "unordered batch": lambda: rows().batch(4, **UNORDERED),
    "unordered by its options": lambda: (
        rows().map(lambda x: x + 1, num_parallel_calls=2).with_options(unordered())
    ),
}


@pytest.mark.parametrize("name", COUNTABLE)
def test_countable(name):
    assert can_count(iter(COUNTABLE[name]()))


@pytest.mark.parametrize("name", NOT_COUNTABLE)
def test_not_countable(name):
    assert not can_count(iter(NOT_COUNTABLE[name]()))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: D.range(40).batch(4), 0),
        (lambda: D.range(4000).shuffle(100).batch(4).prefetch(2), 800),
        (lambda: D.range(40).shuffle(100), 320),
        (lambda: D.range(40).repeat().shuffle(100), 800),
        (lambda: D.range(40).cache().shuffle(10), 400),
        (lambda: D.range(40).cache("a file").shuffle(10), 80),
        (lambda: D.range(40).batch(4, drop_remainder=True).prefetch(3), 96),
        (lambda: D.from_tensor_slices(["a", "b"]).shuffle(2), None),
        (lambda: D.range(9).map(lambda x: tf.zeros([x])).shuffle(2), None),
    ],
)
def test_buffered_bytes(make, expected):
    assert tf_data.buffered(make()).size_bytes == expected
