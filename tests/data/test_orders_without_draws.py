"""For some pipelines, making an iterator gives the order of the next epoch without a draw."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf

from ckptkit.compat.tf_data import stage_of
from ckptkit.data.shuffle_counters import OrderCounters, counters_of
from ckptkit.tracking.shuffle_orders import advances_when_made

D = tf.data.Dataset


def rows(seed: int | None = 3) -> tf.data.Dataset:
    return D.range(40).shuffle(15, seed=seed)


def mixed(rows: tf.data.Dataset) -> tf.data.Dataset:
    others = D.range(100, 130).shuffle(9, seed=4)
    return D.sample_from_datasets([rows, others], [0.5, 0.5], seed=8, stop_on_empty_dataset=True)


NO_DRAW = {
    "shuffle": lambda: rows(),
    "batch and prefetch": lambda: rows().batch(4).prefetch(2),
    "padded batch": lambda: rows().map(lambda x: tf.reshape(x, [1])).padded_batch(4),
    "parallel batch": lambda: rows().batch(4, num_parallel_calls=2),
    "map": lambda: rows().map(lambda x: x + 1).batch(4),
    "parallel map": lambda: rows().map(lambda x: x + 1, num_parallel_calls=2).batch(4),
    "take": lambda: rows().batch(4).take(5),
    "zip": lambda: D.zip((rows(), rows(5))).batch(4),
    "global seed": lambda: rows(None).batch(4),
    "cache before": lambda: D.range(40).cache().shuffle(15, seed=3).batch(4),
    "sampled": lambda: mixed(rows()).batch(4),
    "filter": lambda: rows().filter(lambda x: x % 3 > 0).batch(4),
    "skip": lambda: rows().skip(5).batch(4),
    "shard": lambda: rows().shard(2, 1).batch(4),
    "unbatch": lambda: D.range(40).batch(2).shuffle(9, seed=3).unbatch().batch(4),
    "take while": lambda: rows().take_while(lambda x: x >= 0).batch(4),
    "scan": lambda: rows().scan(np.int64(0), lambda sum, x: (sum + x, sum + x)).batch(4),
    "window": lambda: rows().window(4).flat_map(lambda window: window.batch(4)),
    "ignore errors": lambda: rows().ignore_errors().batch(4),
    "assert cardinality": lambda: (
        rows().apply(tf.data.experimental.assert_cardinality(40)).batch(4)
    ),
    "unique": lambda: rows().unique().batch(4),
    "rebatch": lambda: rows().batch(8).rebatch(4),
    "ragged": lambda: rows().map(lambda x: tf.reshape(x, [1])).ragged_batch(4),
    "flat map": lambda: rows().flat_map(lambda x: D.range(x, x + 2)).batch(4),
    "interleave": lambda: rows().interleave(lambda x: D.range(x, x + 2), cycle_length=3).batch(4),
    "parallel interleave": lambda: (
        rows()
        .interleave(lambda x: D.range(x, x + 2), num_parallel_calls=2, deterministic=True)
        .batch(4)
    ),
    "concatenate": lambda: rows().concatenate(D.range(9)).batch(4),
    "no shuffle": lambda: D.range(40).batch(4),
}
BELOW = {
    "two shuffles": lambda: rows().shuffle(9, seed=5).batch(4),
    "three shuffles": lambda: rows().shuffle(9, seed=5).map(lambda x: x).shuffle(5).batch(4),
    "files": lambda: (
        D.range(6)
        .shuffle(6, seed=1)
        .interleave(lambda x: D.range(10 * x, 10 * x + 10), num_parallel_calls=2)
        .shuffle(20, seed=2)
        .batch(4)
        .prefetch(2)
    ),
    "zip": lambda: D.zip((rows().shuffle(9, seed=5), rows(8))).batch(4),
}
DRAW = {
    "a mixture with two shuffles": lambda: mixed(rows().shuffle(9, seed=5)).batch(4),
    "repeat": lambda: rows().repeat(2).batch(4),
    "concatenate a shuffle": lambda: D.range(9).concatenate(rows()).batch(4),
    "cache after": lambda: rows().cache().batch(4),
    "random map": lambda: rows().map(lambda x: x + tf.random.uniform([], 0, 9, tf.int64, seed=2)),
}


def pass_over(dataset: tf.data.Dataset) -> list:
    return [np.asarray(batch).tolist() for batch in dataset.as_numpy_iterator()]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", NO_DRAW)
def test_iterators_that_draw_nothing_give_the_order_of_later_epochs(name, whole):
    seed, past = random.randrange(2**31), random.randrange(1, 6)
    print("seed", seed, "past epochs", past)
    tf.random.set_seed(seed)
    dataset = NO_DRAW[name]()
    expected = [pass_over(dataset) for _ in range(past + 2)][past:]
    tf.random.set_seed(seed)
    dataset = NO_DRAW[name]()
    assert counters_of(iter(NO_DRAW[name]())).advance_when_made
    tf.random.set_seed(seed)
    dataset = NO_DRAW[name]()
    # Those of the counters alone do the same as those of the whole pipeline.
    made = dataset if whole else OrderCounters(dataset)
    for _ in range(past):
        assert whole or list(made) == []
        if whole:
            iter(made)
    assert [pass_over(dataset) for _ in range(2)] == expected
    if name != "no shuffle":
        assert expected[0] != expected[1]


@pytest.mark.parametrize("name", BELOW)
def test_a_shuffle_below_another_one_counts_passes_of_which_a_batch_is_read(name):
    seed, past = random.randrange(2**31), random.randrange(1, 6)
    unread = random.randrange(3)
    print("seed", seed, "past epochs", past, "iterators from which nothing is read", unread)

    def made():
        tf.random.set_seed(seed)
        return BELOW[name]()

    dataset = made()
    for number in range(past):
        batches = iter(dataset)
        for _ in range(1 + number):  # not only whole epochs
            next(batches)
    for _ in range(unread):
        iter(dataset)
    expected = [pass_over(dataset) for _ in range(2)]
    dataset = made()
    assert not advances_when_made(stage_of(dataset))
    counters = counters_of(iter(made()))
    assert not counters.advance_when_made
    counters = OrderCounters(dataset)
    for _ in range(past):
        assert list(counters) == []
        counters.read_first()
    for _ in range(unread):
        iter(counters)
    assert [pass_over(dataset) for _ in range(2)] == expected


@pytest.mark.parametrize("name", DRAW)
def test_other_pipelines_are_drawn_from(name):
    assert not advances_when_made(stage_of(DRAW[name]()))
    assert counters_of(iter(DRAW[name]())) is None


def test_the_counters_of_a_shuffle_that_two_branches_read():
    rows_of_both = rows()
    dataset = D.zip((rows_of_both, rows_of_both)).batch(4)
    expected = [pass_over(dataset) for _ in range(3)]
    rows_of_both = rows()
    dataset = D.zip((rows_of_both, rows_of_both)).batch(4)
    for number, order in enumerate(expected):
        assert pass_over(dataset) == order
        if number == 0:
            list(OrderCounters(dataset))
            assert pass_over(dataset) == expected[2]
            break


def test_counters_of_other_data():
    assert counters_of(iter([1, 2])) is None
