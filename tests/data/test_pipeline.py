"""The orders that a pipeline hides from a restore are exactly those that ckptkit reports.

For all others, one batch of each earlier pass brings the counters back.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.support.journals import events_of

PROGRAM = """
import json, sys, tempfile
import keras, numpy as np, tensorflow as tf
import ckptkit
from ckptkit.compat import keras_fit, tf_data
from ckptkit.tracking import shuffle_orders

seed = int(sys.argv[1])
directory = tempfile.mkdtemp()
texts = [f"{directory}/{name}" for name in "abcdef"]
for text in texts:
    with open(text, "w") as file:
        file.write("".join(f"{text[-1]}{number}\\n" for number in range(5)))


def made(kind=None):
    '''A pipeline anew, as another process would make it; or what kinds there are.'''
    keras.utils.set_random_seed(seed)
    rows = tf.data.Dataset.range(40)
    first, second, many = rows.shuffle(12, seed=6), rows.shuffle(9), tf.data.Dataset.range(3)

    def noisy(i):
        return tf.cast(i, tf.float32) + tf.random.uniform(())

    def few(i):
        return i < 9

    def double(i):
        return i * 2

    def without_values():
        kept = rows.shuffle(9)
        made = many.flat_map(lambda i: kept).batch(4)
        del kept
        return made

    class Has:
        def rows(self, i):
            return self.held

    has = Has()
    has.held = rows
    ignore = tf.data.Options()
    ignore.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    x, y = np.random.normal(size=(40, 3)), np.arange(40)

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.dataset = keras_fit.fit_call(self).epoch_iterator._distributed_dataset
            self.model.stop_training = True

    def of_keras(**options):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        look = Look()
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[look], **options)
        return look.dataset

    kinds = {
        "shuffle": lambda: first.batch(4),
        "two shuffles": lambda: (
            first.map(lambda i: i * 2).shuffle(5).batch(4, drop_remainder=True).prefetch(2)
        ),
        "zip": lambda: tf.data.Dataset.zip((first, second)).batch(4),
        "mixed": lambda: tf.data.Dataset.sample_from_datasets([first, second], [0.8, 0.2]).batch(4),
        "chosen late": lambda: tf.data.Dataset.choose_from_datasets(
            [first, second], tf.data.Dataset.range(40).map(lambda i: i // 20)
        ).batch(4),
        "then in order": lambda: first.concatenate(
            rows.map(lambda i: -i).window(3).flat_map(lambda few: few.batch(2)).unbatch()
        ).batch(4),
        "concatenate": lambda: first.concatenate(second).batch(4),
        "concatenate, beside": lambda: tf.data.Dataset.zip(
            (first.concatenate(first), tf.data.Dataset.from_tensors(1).repeat())
        ).batch(4),
        "repeat": lambda: first.repeat(2).batch(4),
        "repeat in order": lambda: tf.data.Dataset.zip(
            (second, rows.filter(few).map(double).batch(2).unbatch().shard(2, 1).repeat())
        ).batch(4),
        "repeat in one order": lambda: tf.data.Dataset.zip(
            (second, rows.skip(2).take(5).repeat(8))
        ).batch(4),
        "cache": lambda: first.cache().batch(4),
        "window": lambda: first.window(8).flat_map(lambda rows: rows.shuffle(4, seed=1).batch(4)),
        "flat_map, made inside": lambda: many.flat_map(
            lambda i: tf.data.Dataset.range(40).shuffle(12, seed=6)
        ).batch(4),
        "flat_map": lambda: many.flat_map(lambda i: first).batch(4),
        "interleave": lambda: many.interleave(lambda i: second, cycle_length=2).batch(4),
        "interleave in order": lambda: second.interleave(
            lambda i: rows.shard(3, i % 3).shuffle(4, seed=2), cycle_length=2, num_parallel_calls=2
        ),
        "not to be seen": lambda: many.flat_map(has.rows).batch(4),
        "elements": lambda: (
            tf.data.Dataset.from_tensor_slices([first, second]).flat_map(lambda each: each).batch(4)
        ),
        "repeated lines": lambda: (
            tf.data.TextLineDataset(tf.data.Dataset.from_tensor_slices(texts).shuffle(6))
            .repeat(2)
            .batch(4)
        ),
        "shuffle_and_repeat": lambda: rows.apply(
            tf.data.experimental.shuffle_and_repeat(12, 2)
        ).batch(4),
        "names without values": without_values,
        "repeated scan": lambda: tf.data.Dataset.zip(
            (second, ckptkit.data.shuffled((x, y), 4, seed=3).take(3).repeat())
        ).batch(4),
        "reduce": lambda: many.map(lambda i: first.take(3).reduce(i, lambda a, b: a * 7 + b)),
        "random map": lambda: rows.map(noisy).batch(4).with_options(ignore),
        "grouped": lambda: first.group_by_window(
            lambda i: i % 2, lambda key, rows: rows.shuffle(3, seed=2).batch(4), window_size=8
        ),
        "arrays": lambda: of_keras(),
        "arrays in order": lambda: of_keras(shuffle=False),
        "weighted arrays": lambda: of_keras(sample_weight=np.linspace(0, 1, 40)),
        "arrays by batch": lambda: of_keras(shuffle="batch"),
        "index-shuffled": lambda: ckptkit.data.shuffled((x, y), 4, seed=3).take(10),
    }
    return list(kinds) if kind is None else kinds[kind]()


def third(name, batches):
    '''The third pass, after so many batches of the two before it.'''
    dataset = made(name)
    for _ in range(2):
        for _ in zip(range(batches), dataset):
            pass
    return [[str(part.numpy().tolist()) for part in tf.nest.flatten(batch)] for batch in dataset]


found = {}
for name in made():
    stage = tf_data.stage_of(made(name))
    found[name] = {
        "hidden": shuffle_orders.order_not_replayable(stage),
        "repeats": shuffle_orders.repeats_orders(stage),
        "cache": shuffle_orders.uses_cache(stage),
        "alike": third(name, 1) == third(name, 99),
    }
print(json.dumps(found))
"""

LATER, INSIDE, DRAWS = (
    "only when a pass reaches it",
    "made outside of its function",
    "whose state TensorFlow does not save",
)
HIDDEN = {
    "mixed": "once one has ended, an iterator that TensorFlow restores waits for ever",
    "concatenate": LATER,
    "concatenate, beside": LATER,
    "flat_map": INSIDE,
    "interleave": INSIDE,
    "reduce": INSIDE,
    "not to be seen": INSIDE,
    "elements": INSIDE,
    "names without values": INSIDE,
    "random map": DRAWS,
    "arrays by batch": DRAWS,
}


@pytest.fixture(scope="module")
def found(fork_server: Any) -> dict[str, dict[str, Any]]:
    seed = random.SystemRandom().randrange(1 << 20)
    print(f"seed={seed}")
    process = fork_server.run(PROGRAM, seed).check()
    return json.loads(process.stdout.splitlines()[-1])


def test_pipelines_whose_orders_cannot_be_replayed(found: dict[str, dict[str, Any]]) -> None:
    assert {
        name: expected
        for name, expected in HIDDEN.items()
        if expected not in (found[name]["hidden"] or "")
    } == {}
    assert {
        name: each["hidden"]
        for name, each in found.items()
        if each["hidden"] and name not in HIDDEN
    } == {}


def test_pipelines_that_repeat_and_that_cache(found: dict[str, dict[str, Any]]) -> None:
    assert [name for name, each in found.items() if each["repeats"]] == [
        "repeat",
        "repeated lines",
        "shuffle_and_repeat",
    ]
    assert [name for name, each in found.items() if each["cache"]] == ["cache"]


def test_one_batch_of_each_pass_is_enough_if_nothing_is_reported(
    found: dict[str, dict[str, Any]],
) -> None:
    other = {name for name, each in found.items() if not each["alike"]}
    result = {
        name for name, each in found.items() if each["hidden"] or each["repeats"] or each["cache"]
    }
    assert other <= result
    assert {"concatenate", "flat_map", "interleave", "repeat", "cache"} <= other, (
        "without these the test would compare nothing"
    )


IN_STATE = """
import sys
import keras, tensorflow as tf
import ckptkit

keras.utils.set_random_seed(4)
rows = tf.data.Dataset.range(8)
kind, exact = sys.argv[2:]
data = {
    "concatenate": lambda: rows.shuffle(8).concatenate(rows.shuffle(5)).repeat().batch(4),
    "once": lambda: rows.shuffle(8).concatenate(rows.shuffle(5)).batch(4),
    "repeat": lambda: rows.shuffle(8).concatenate(rows).repeat().batch(4),
}[kind]()
iterator = iter(data)
state = {"n": tf.Variable(0.0), "data": {"train": [iterator]}}
with ckptkit.CheckpointManager(
    sys.argv[1], state, save=ckptkit.EveryNSteps(1), exact=exact
) as manager:
    for step in manager.steps(3):
        next(iterator)
"""


@pytest.mark.parametrize("kind", ["concatenate", "once", "repeat"])
def test_an_iterator_in_the_state_that_loses_orders_is_reported(
    kind: str, tf_process: Any, tmp_path: Any
) -> None:
    process = tf_process(IN_STATE, tmp_path / "run", kind, "warn")
    process.check()
    result = [event.reason for event in events_of(tmp_path / "run", "inexact")]
    assert [
        ("train" in each and LATER in each and "manager.data(dataset)" in each) for each in result
    ] == [True] * (kind == "concatenate")
    required = tf_process(IN_STATE, tmp_path / "required", kind, "require")
    assert required.wait() == (1 if kind == "concatenate" else 0)
    assert (LATER in required.stderr) == (kind == "concatenate")
