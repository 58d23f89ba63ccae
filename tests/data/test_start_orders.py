"""The state with which a pass began takes the place of all passes before it."""

from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.data.start_orders import StartOrders, orders_at_start
from ckptkit.tracking import python_state

D = tf.data.Dataset


def rows(seed: int | None = 3) -> tf.data.Dataset:
    return D.range(40).shuffle(15, seed=seed)


def mixed() -> tf.data.Dataset:
    others = D.range(100, 130).shuffle(9, seed=4)
    return D.sample_from_datasets([rows(), others], [0.5, 0.5], seed=8, stop_on_empty_dataset=True)


KNOWN = {
    "one shuffle": lambda: rows().batch(4).prefetch(2),
    "a mixture": lambda: mixed().batch(4),
    "repeat": lambda: rows().repeat(2).batch(4),
    "repeat below map": lambda: rows().map(lambda x: x + 1).repeat(3).filter(lambda x: x > 3),
    "repeat in zip": lambda: D.zip((rows().repeat(2), rows(5).repeat(2))).batch(4),
    "repeated mixture": lambda: mixed().repeat(2).batch(4),
    "repeat after concatenate": lambda: rows().concatenate(D.range(9)).repeat(2).batch(4),
}
UNKNOWN = {
    "two shuffles": lambda: rows().shuffle(9, seed=5).repeat(2).batch(4),
    "no seed": lambda: rows(None).repeat(2),
    "cache": lambda: rows().repeat(2).cache(),
    "a late shuffle": lambda: D.range(9).concatenate(rows()).repeat(2),
    "random map": lambda: (
        rows().map(lambda x: x + tf.random.uniform([], 0, 9, tf.int64, seed=2)).repeat(2)
    ),
}


@pytest.fixture(autouse=True)
def _no_global_seed():
    """Other tests of this process may have set one."""
    tf.random.set_seed(None)


def left_of(batches) -> list:
    return [[np.asarray(part).tolist() for part in tf.nest.flatten(batch)] for batch in batches]


@pytest.mark.parametrize("name", KNOWN)
def test_they_give_the_orders_of_this_pass_and_later_ones(name):
    past, drawn = random.randrange(1, 5), random.randrange(3)
    print("past passes", past, "batches drawn before the restore", drawn)
    dataset = KNOWN[name]()
    for _ in range(past):
        batches = iter(dataset)
        with suppress(StopIteration):  # not only whole passes
            for _ in range(random.randrange(1, 30)):
                next(batches)
    iterator = iter(dataset)
    orders = orders_at_start(iterator, past)
    assert orders.passes == past
    expected = [left_of(iterator), *(left_of(dataset) for _ in range(2))]
    assert expected[0] != expected[1]
    stored, arrays = python_state.encode(orders.to_state(), "orders")
    orders = StartOrders.from_state(python_state.decode(stored, arrays, "orders"))
    again = KNOWN[name]()
    assert orders.fits(again)
    iterator = iter(again)
    for _ in range(drawn):
        next(iterator)
    iterator = iter(again)
    orders.restore(iterator)
    assert [left_of(iterator), *(left_of(again) for _ in range(2))] == expected


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_pipelines_have_none(name):
    assert orders_at_start(iter(UNKNOWN[name]()), 3) is None


def test_they_fit_no_other_data():
    orders = orders_at_start(iter(rows().repeat(2)), 3)
    assert orders.fits(rows().repeat(2))
    assert not orders.fits(rows(5).repeat(2))
    assert not orders.fits(rows().repeat(3))
    assert not orders.fits([1, 2])
    assert orders_at_start(iter(rows().repeat(2)), 0) is None
    assert StartOrders.from_state(None) is None


def train(run, passes, end=None):
    """Reads passes of a repeated shuffle in a loop; returns their rows, and how many were made."""
    made = []

    def make(number):
        made.append(number)
        return np.int64(number)

    options = tf.data.Options()
    options.autotune.enabled = False
    # TensorFlow would refuse to save the state of this function.
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    data = (
        D.range(20)
        .map(lambda number: tf.ensure_shape(tf.numpy_function(make, [number], tf.int64), []))
        .shuffle(8, seed=3)
        .repeat(2)
        .batch(4)
        .with_options(options)
    )
    seen = []
    with (
        suppress(InterruptedError),
        ckptkit.CheckpointManager(
            run,
            {"w": tf.Variable(0.0)},
            save=ckptkit.EveryNSteps(1),
            background=False,
            anchors=ckptkit.NoAnchors(),
        ) as manager,
    ):
        for _ in manager.epochs(passes):
            for batch in manager.data(data):
                seen.append(batch.numpy().tolist())
                if manager.position.step + 1 == end:
                    raise InterruptedError
    return seen, len(made)


def test_a_loop_in_a_late_epoch_makes_no_rows_of_past_epochs(tmp_path):
    """From the middle of an epoch, and from its first batch on."""
    batches = 10
    late = random.randrange(3, 6)
    expected, _ = train(tmp_path / "plain", late + 1)
    made = {}
    for epoch in (1, late):
        for batch in (random.randrange(3, batches), 1):
            print("late epoch", late, "batch", batch)
            run, end = tmp_path / f"{epoch}-{batch}", epoch * batches + batch
            first, _ = train(run, late + 1, end)
            assert first == expected[:end]
            _, made[epoch] = train(run, late + 1, end + 1)
            rest, _ = train(run, late + 1)
            assert rest == expected[end:]
        # Of one pass at most, with what TensorFlow reads ahead. The whole pass has 40 rows.
    assert made[late] <= made[1] + 8, made
