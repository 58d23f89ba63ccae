"""Checks of `ckptkit/compat/tf_iterators.py`: one function for each name."""

from __future__ import annotations

import tensorflow as tf

from ckptkit.compat import tf_iterators
from tests.campaigns.replicas.devices import mirrored
from tests.compat.small_model import model


def iterator_of():
    iterator, batches = iter(tf.data.Dataset.range(3)), tf.data.Dataset.range(3).as_numpy_iterator()
    assert tf_iterators.iterator_of(iterator) is iterator
    assert isinstance(tf_iterators.iterator_of(batches), tf.data.Iterator)
    assert tf_iterators.iterator_of(model()) is tf_iterators.iterator_of(tf.Variable(1)) is None


def dataset_of():
    strategy = mirrored(2)
    dataset = tf.data.Dataset.range(3)
    assert tf_iterators.dataset_of(iter(dataset)) is dataset
    one = tf.distribute.MirroredStrategy(["CPU:0"])
    for rows in (dataset.batch(2), dataset.batch(2).prefetch(1), dataset.batch(2).map(abs)):
        for each in (strategy, one, tf.distribute.OneDeviceStrategy("CPU:0")):
            iterator = iter(each.experimental_distribute_dataset(rows))
            assert tf_iterators.dataset_of(iterator) is rows, (rows, each)


def has_dataset():
    strategy = mirrored(2)
    dataset = tf.data.Dataset.range(4).batch(2)
    iterator = iter(strategy.experimental_distribute_dataset(dataset))
    found = [tf_iterators.has_dataset(each) for each in (iter(dataset), iterator, iter([1]), None)]
    assert found == [True, True, False, False]
