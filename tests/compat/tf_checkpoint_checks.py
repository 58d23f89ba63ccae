"""Checks of `ckptkit/compat/tf_checkpoint.py`: one function for each name."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from tests.compat.small_model import model


def StagedTensor():
    prefix = tf.train.Checkpoint(
        a=tf_checkpoint.StagedTensor(tf.constant([1, 2])),
        it=tf_checkpoint.StagedTensor(
            tf_checkpoint.serialize(iter(tf.data.Dataset.range(3)))["_STATE"]
        ),
    ).write("made")
    assert tf.train.load_checkpoint(prefix).get_tensor("a/.ATTRIBUTES/VARIABLE_VALUE").tolist() == [
        1,
        2,
    ]
    assert tf.train.list_variables(prefix)
    assert tf.raw_ops.RestoreV2(
        prefix=prefix,
        tensor_names=["it/.ATTRIBUTES/VARIABLE_VALUE"],
        shape_and_slices=[""],
        dtypes=[tf.variant],
    )


def serializes():
    tables = [
        tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0),
        tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, 0, empty_key=-1, deleted_key=-2),
    ]
    assert all(map(tf_checkpoint.serializes, [*tables, iter(tf.data.Dataset.range(3))]))
    without = [
        tf.Module(),
        tf.train.Checkpoint(),
        tf.random.Generator.from_seed(1),
        keras.layers.Dense(1),
        keras.optimizers.Adam(),
    ]
    assert not any(map(tf_checkpoint.serializes, without))


def serialize():
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
    table.insert([3], [4])
    assert {tuple(tensor.numpy()) for tensor in tf_checkpoint.serialize(table).values()} == {
        (3,),
        (4,),
    }


def deserialize():
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
    table.insert([3], [4])
    values = tf_checkpoint.serialize(table)
    table.insert([5], [6])
    tf_checkpoint.deserialize(table, values)
    assert [tensor.numpy().tolist() for tensor in table.export()] == [[3], [4]]
    iterator = iter(tf.data.Dataset.range(9))
    next(iterator)
    values = tf_checkpoint.serialize(iterator)
    next(iterator), next(iterator)
    tf_checkpoint.deserialize(iterator, values)
    assert next(iterator).numpy() == 1


def is_trackable():
    assert all(
        map(
            tf_checkpoint.is_trackable,
            [
                tf.Module(),
                tf.train.Checkpoint(),
                tf.Variable(1.0),
                iter(tf.data.Dataset.range(3)),
                tf.random.Generator.from_seed(1),
                tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0),
            ],
        )
    )
    assert not any(
        map(tf_checkpoint.is_trackable, [object(), 3, lambda: 1, np.zeros(1), tf.constant(1)])
    )


def uninitialized():
    assert not tf_checkpoint.uninitialized(keras.Variable(1.0))
    with keras.StatelessScope():
        deferred = keras.Variable(keras.initializers.Ones(), shape=(2,), dtype="float32")
        assert tf_checkpoint.uninitialized(deferred)
    assert not tf_checkpoint.uninitialized(deferred)


def variables_reader():
    dense, sparse, none = (
        tf.Variable(tf.zeros((1000, 4))),
        tf.Variable(tf.zeros((1000, 4))),
        tf.Variable(7, dtype=tf.int64),
    )
    sparse.scatter_update(
        tf.IndexedSlices(tf.ones((1, 4)), [3])
    )  # from now on it is updated in place, and copied on reading
    read = tf_checkpoint.variables_reader([dense, sparse, none])
    values = read()
    dense.assign_add(tf.ones((1000, 4)))
    sparse.scatter_update(tf.IndexedSlices(tf.ones((1, 4)), [5]))
    none.assign(8)
    assert [int(tf.reduce_sum(value)) for value in values] == [0, 4, 7]
    assert values[2].dtype == tf.int64
    assert [int(tf.reduce_sum(value)) for value in read()] == [4000, 8, 8]
    assert tf_checkpoint.variables_reader([])() == []
    types = ["float32", "int64", "bfloat16", "bool", "float32", "int64", "complex64"]
    mixed = [tf.Variable(tf.cast(n % 2 + n // 2, kind)) for n, kind in enumerate(types)]
    for at_once in range(1, 9):
        values = tf_checkpoint.variables_reader(mixed, at_once)()
        assert [value.dtype for value in values] == [variable.dtype for variable in mixed]
        assert [value.numpy() for value in values] == [variable.numpy() for variable in mixed]


def GraphNode():
    assert tf_checkpoint.GraphNode({}, "", "").children == {}


def object_graph():
    made = model()
    prefix = tf.train.Checkpoint(model=made).write("made")
    nodes = tf_checkpoint.object_graph(
        tf.train.load_checkpoint(prefix).get_tensor(tf_checkpoint.OBJECT_GRAPH)
    )
    assert "model" in nodes[0].children
    assert len(nodes) > max(child for node in nodes for child in node.children.values())
    keys = {node.key: node.name for node in nodes if node.key}
    assert set(keys) < {name for name, _ in tf.train.list_variables(prefix)}
    assert {variable.path for variable in made.weights} <= set(keys.values())


def class_serializes():
    table, iterator = tf.lookup.experimental.MutableHashTable, type(iter(tf.data.Dataset.range(3)))
    assert all(map(tf_checkpoint.class_serializes, [table, iterator, tf_checkpoint.StagedTensor]))
    without = [tf.Module, tf.random.Generator, keras.layers.Dense, keras.optimizers.Adam, dict]
    assert not any(map(tf_checkpoint.class_serializes, without))


def encoded_graph():
    made = model()
    weight = made.weights[0]
    nodes = [
        tf_checkpoint.GraphNode({"model": 1}, "", ""),
        tf_checkpoint.GraphNode({"a": 2}, "", ""),
        tf_checkpoint.GraphNode({}, "any key/.ATTRIBUTES/VARIABLE_VALUE", weight.path),
    ]
    assert tf_checkpoint.object_graph(tf_checkpoint.encoded_graph(nodes)) == nodes
    tf.raw_ops.SaveV2(
        prefix="made",
        tensor_names=[nodes[2].key, tf_checkpoint.OBJECT_GRAPH],
        shape_and_slices=["", ""],
        tensors=[tf.constant([5.0, 6.0]), tf.constant(tf_checkpoint.encoded_graph(nodes))],
    )
    other = tf.train.Checkpoint(a=tf.Variable([0.0, 0.0]))
    tf.train.Checkpoint(model=other).read("made").assert_consumed()
    assert other.a.numpy().tolist() == [5.0, 6.0]


def has_own_values():
    class Counter(tf.train.experimental.PythonState):
        def serialize(self):
            return ""

        def deserialize(self, value):
            pass

    tables = [
        tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0),
        tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, 0, empty_key=-1, deleted_key=-2),
    ]
    values = [*tables, iter(tf.data.Dataset.range(3)), tf.Variable(1.0), Counter()]
    assert all(map(tf_checkpoint.has_own_values, values))
    without = [
        tf.Module(),
        tf.train.Checkpoint(),
        tf.train.Checkpoint(a=[tf.Variable(1.0)]).a,
        keras.layers.Dense(1),
        keras.optimizers.Adam(),
        model(),
    ]
    assert not any(map(tf_checkpoint.has_own_values, without))
