"""Checks of `ckptkit/compat/tf_distribute.py`: one function for each name."""

from __future__ import annotations

import tensorflow as tf

from ckptkit.compat import tf_distribute
from tests.campaigns.replicas.devices import mirrored


def distributed_variable_of():
    strategy = mirrored(2)
    on_read = tf.VariableSynchronization.ON_READ
    with strategy.scope():
        made = [
            tf.Variable(1.0),
            tf.Variable(1.0, synchronization=on_read, aggregation=tf.VariableAggregation.SUM),
        ]
    for variable in made:
        for component in strategy.experimental_local_results(variable):
            assert tf_distribute.distributed_variable_of(component) is variable
    assert tf_distribute.distributed_variable_of(tf.Variable(1.0)) is None


def batch_size_of():
    rows = tf.data.Dataset.range(20)
    assert tf_distribute.batch_size_of(rows.batch(6)) == 6
    assert tf_distribute.batch_size_of(rows.batch(6).prefetch(1).repeat(2)) == 6
    unknown = tf.data.Dataset.from_generator(
        lambda: iter([[1, 2], [3]]), output_signature=tf.TensorSpec([None], tf.int64)
    )
    assert tf_distribute.batch_size_of(unknown) is None


def splits_evenly():
    strategy = mirrored(4)
    rows = tf.data.Dataset.range(20).batch(6)
    parts = {}
    for policy in ("AUTO", "OFF", "DATA"):
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = getattr(
            tf.data.experimental.AutoShardPolicy, policy
        )
        made = rows.with_options(options)
        split = iter(strategy.experimental_distribute_dataset(made))
        first = strategy.experimental_local_results(next(split))
        parts[policy] = [len(part) for part in first]
        is_even = parts[policy] == [2, 2, 1, 1]
        assert tf_distribute.splits_evenly(made, 4, 6) == is_even, (policy, parts)
    assert len(set(map(tuple, parts.values()))) == 2, parts
