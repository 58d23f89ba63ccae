"""Checks of `ckptkit/compat/tf_data.py`: one function for each name."""

from __future__ import annotations

import tempfile

import keras
import tensorflow as tf

from ckptkit.compat import keras_fit, tf_checkpoint, tf_data
from tests.compat.small_model import model, x, y


def Stage():
    assert tf_data.Stage("RangeDataset") == tf_data.stage_of(tf.data.Dataset.range(3))


def stage_of():
    def kinds(stage):
        return [stage.kind, *(kind for each in stage.inputs for kind in kinds(each))]

    first = tf.data.Dataset.range(9)
    chain = first.shuffle(3).map(lambda x: x).batch(2).prefetch(1)
    assert kinds(tf_data.stage_of(chain)) == [
        "PrefetchDataset",
        "BatchDataset",
        "MapDataset",
        "ShuffleDataset",
        "RangeDataset",
    ]
    assert kinds(tf_data.stage_of(tf.data.Dataset.zip(first, first.repeat(2)))) == [
        "ZipDataset",
        "RangeDataset",
        "RepeatDataset",
        "RangeDataset",
    ]
    assert kinds(tf_data.stage_of(first.concatenate(first.cache()))) == [
        "ConcatenateDataset",
        "RangeDataset",
        "CacheDataset",
        "RangeDataset",
    ]
    # What functions use and draw.
    used = first.shuffle(4)

    def random(x):
        return tf.random.uniform(())

    @tf.function
    def inner(x):
        return tf.cond(x > 1, lambda: random(x), lambda: 0.0)

    class Has:
        held = used

        def own(self, i):
            return self.held

    for made, kind, inside, drawn in (
        (first.flat_map(lambda i: used), "FlatMapDataset", (tf_data.stage_of(used),), ()),
        (
            first.interleave(lambda i: first.shard(2, 0), cycle_length=2),
            "InterleaveDataset",
            (tf_data.stage_of(first),),
            (),
        ),
        (first.flat_map(lambda i: tf.data.Dataset.range(3).shuffle(2)), "FlatMapDataset", (), ()),
        (first.flat_map(Has().own), "FlatMapDataset", (None,), ()),
        (first.map(lambda i: used.reduce(i, tf.add)), "MapDataset", (tf_data.stage_of(used),), ()),
        (first.map(random), "MapDataset", (), ("RandomUniform",)),
        (first.map(inner, num_parallel_calls=2), "ParallelMapDataset", (), ("RandomUniform",)),
        (
            first.flat_map(lambda i: tf.data.Dataset.range(3).map(random)),
            "FlatMapDataset",
            (),
            ("RandomUniform",),
        ),
        (first.window(3).flat_map(lambda rows: rows.batch(3)), "FlatMapDataset", (), ()),
    ):
        stage = tf_data.stage_of(made)
        assert (stage.kind, stage.inside, stage.random, stage.once) == (
            kind,
            inside,
            drawn,
            False,
        ), stage
    assert tf_data.stage_of(tf.data.Dataset.range(1).map(random)).once

    # Keras draws the order of arrays in one call, or that of each batch in one of its own.
    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.dataset = keras_fit.fit_call(self).epoch_iterator._distributed_dataset

    def drawing(stage):
        return [(each, stage.once) for each in stage.random] + [
            each for below in stage.inputs for each in drawing(below)
        ]

    for shuffle, drawn in (
        (True, [("RandomShuffle", True)]),
        (False, []),
        ("batch", [("RandomShuffle", False)]),
    ):
        look = Look()
        model().fit(x, y, shuffle=shuffle, verbose=0, callbacks=[look])
        assert drawing(tf_data.stage_of(look.dataset)) == drawn, drawing(
            tf_data.stage_of(look.dataset)
        )


def inputs_of():
    rows, others = tf.data.Dataset.range(3), tf.data.Dataset.range(4)
    assert tf_data.inputs_of(rows) == []
    assert tf_data.inputs_of(rows.shuffle(2)) == [rows]
    both = tf_data.inputs_of(rows.concatenate(others))
    assert [int(each.cardinality()) for each in both] == [3, 4]


def Buffered():
    assert tf_data.buffered(tf.data.Dataset.range(3)) == tf_data.Buffered(rows=0, size_bytes=0)


def buffered():
    rows = tf.data.Dataset.range(100)

    def found(dataset):
        known = tf_data.buffered(dataset)
        return known.rows, known.size_bytes

    assert found(rows.batch(4)) == (0, 0)
    assert found(rows.shuffle(30)) == (30, 240)
    assert found(rows.shuffle(300)) == (100, 800)
    assert found(rows.repeat().shuffle(300)) == (300, 2400)
    assert found(rows.shuffle(30).batch(4, drop_remainder=True).prefetch(2)) == (32, 240 + 64)
    assert found(rows.shuffle(30).batch(4).prefetch(2)) == (32, 240)
    assert found(rows.cache()) == (100, 800)
    assert found(rows.filter(lambda i: i > 3).cache()) == (None, None)
    assert found(rows.map(tf.strings.as_string).shuffle(30)) == (30, None)
    assert found(rows.cache(str(tempfile.mkdtemp()) + "/cache")) == (0, 0)


def describe_pipeline():
    def stages(batch=4, buffer=10, prefetch=True):
        dataset = tf.data.Dataset.range(99).shuffle(buffer).map(lambda x: x).batch(batch).repeat(2)
        return tf_data.describe_pipeline(dataset.prefetch(1) if prefetch else dataset)

    assert stages() == stages()
    assert (
        len(
            {
                tuple(stages()),
                tuple(stages(batch=8)),
                tuple(stages(buffer=11)),
                tuple(stages(prefetch=False)),
            }
        )
        == 4
    )
    assert [
        word
        for word in ("batch_size=4", "buffer_size=10", "count=2")
        if word not in " ".join(stages())
    ] == []


def order_seeds():
    numbers = tf.data.Dataset.range(9)
    assert tf_data.order_seeds(numbers.map(lambda x: x).batch(2)) == []
    assert tf_data.order_seeds(numbers.shuffle(3).batch(2)) == [(0, 0)]
    (seeds,) = tf_data.order_seeds(numbers.shuffle(3, seed=5))
    assert seeds != (0, 0)
    tf.random.set_seed(4)
    (by_global_seed,) = tf_data.order_seeds(numbers.shuffle(3))
    assert by_global_seed != (0, 0)


def unseeded_random_ops():
    numbers = tf.data.Dataset.range(3)

    def draw(seed):
        return lambda x: tf.random.uniform([], seed=seed) + tf.cast(x, tf.float32)

    def inner(x):
        return numbers.map(draw(None))

    assert tf_data.unseeded_random_ops(numbers.map(lambda x: x).shuffle(3).batch(2)) == []
    assert tf_data.unseeded_random_ops(numbers.map(draw(3)).batch(2)) == []
    assert tf_data.unseeded_random_ops(numbers.map(draw(None)).batch(2)) == ["RandomUniform"]
    assert tf_data.unseeded_random_ops(numbers.interleave(inner)) == ["RandomUniform"]
    tf.random.set_seed(3)
    assert tf_data.unseeded_random_ops(numbers.map(draw(None)).batch(2)) == []


def nodes_in():
    def inner(x):
        return tf.data.Dataset.range(x).map(lambda y: y * 3)

    (function,) = tf.data.Dataset.range(3).flat_map(inner)._functions()
    found = {node.op for node in tf_data.nodes_in(function)}
    assert {"MapDataset", "Mul"} <= found


def shuffles_in():
    def state(dataset, drawn):
        iterator = iter(dataset)
        for _ in range(drawn):
            next(iterator)
        (value,) = tf_checkpoint.serialize(iterator).values()
        return tf_data.shuffles_in(value)

    numbers = tf.data.Dataset.range(9)
    assert state(numbers.batch(2), 1) == 0
    assert state(numbers.shuffle(4), 1) == 1
    assert state(numbers.shuffle(4).shuffle(4), 1) == 2


def PipelineFunction():
    (found,) = tf_data.functions_of(tf.data.Dataset.range(3).map(lambda n: n * 2))
    assert found == tf_data.PipelineFunction(found.function)
    assert tf.nest.flatten(found.function(tf.constant(3, tf.int64)))[0] == 6


def functions_of():
    numbers = tf.data.Dataset.range(3)
    used, cached = numbers.map(tf.abs), numbers.map(tf.sign).cache()
    pipeline = numbers.map(tf.negative).concatenate(cached).flat_map(lambda n: used)
    found = tf_data.functions_of(pipeline)
    operations = [{node.op for node in each.function.graph.as_graph_def().node} for each in found]
    for own, expected in zip(operations[1:], ("Abs", "Neg", "Sign"), strict=True):
        assert expected in own, operations
    assert [each.cache for each in found] == [None, None, None, cached]
    assert [each.starts_late for each in found] == [False, True, False, True]
    (alone,) = tf_data.functions_of(cached.batch(2))
    assert (alone.cache, alone.starts_late) == (cached, False)


def stages_in():
    numbers = tf.data.Dataset.range(3)
    used, pairs = numbers.shuffle(2), numbers.batch(2)
    pipeline = pairs.flat_map(lambda n: used)
    found = tf_data.stages_in(pipeline)
    assert list(map(id, found)) == list(map(id, [pipeline, pairs, numbers, used, numbers])), found
