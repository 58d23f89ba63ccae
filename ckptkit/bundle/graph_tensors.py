"""Makes what TensorFlow stores beside values: the graph of objects, and the counter of saves."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from ckptkit.bundle.tensor_bundle import SUFFIX
from ckptkit.compat import tf_checkpoint
from ckptkit.compat.tf_checkpoint import GraphNode
from ckptkit.tracking.snapshot import result_key
from ckptkit.tracking.trackable_graph import SAVE_COUNTER, TrackableGraph


def graph_tensors(graph: TrackableGraph, keys: Collection[str]) -> dict[str, tf.Tensor]:
    """Return TensorFlow's graph of the objects of a checkpoint, by its key.

    A weight that Keras has replaced at the end of training is restored with its final value, as
    `ckptkit.load_weights` does.

    Args:
        graph: the objects that TensorFlow follows from the state.
        keys: the keys of all tensors of the checkpoint.
    """
    present = frozenset(keys)
    root, *others = graph.with_keys(
        {key: (final if (final := result_key(key)) in present else key) + SUFFIX for key in present}
    )
    counter = GraphNode({}, SAVE_COUNTER + SUFFIX, SAVE_COUNTER)
    root = GraphNode({**root.children, SAVE_COUNTER: len(others) + 1}, "", "")
    return {
        tf_checkpoint.OBJECT_GRAPH: tf.constant(
            tf_checkpoint.encoded_graph([root, *others, counter])
        ),
    }


def save_counter(step: int) -> dict[str, tf.Tensor]:
    """Return the counter from which a program of TensorFlow numbers its next save, by its key.

    Args:
        step: the number of the checkpoint.
    """
    return {SAVE_COUNTER + SUFFIX: tf.constant(step, tf.int64)}
