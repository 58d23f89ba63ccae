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
