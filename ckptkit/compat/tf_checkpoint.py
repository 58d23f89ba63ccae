"""Wraps private names of `tf.train.Checkpoint` and TensorFlow's trackables.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context, execute


class StagedTensor(tf.Module):
    """A tensor that `tf.train.Checkpoint` writes like a variable.

    Reason: a `tf.Variable` cannot contain variants (the state of tf.data iterators), and needs a
    copy on some devices. The method of TensorFlow's trackables, `_serialize_to_tensors`, has no
    public name.
    """

    def __init__(self, tensor: tf.Tensor) -> None:
        super().__init__()
        self._staged = tensor

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        return {"VARIABLE_VALUE": self._staged}

    def _restore_from_tensors(self, restored_tensors: Mapping[str, tf.Tensor]) -> None:
        raise TypeError("A staged tensor is only written.")


def serializes(trackable: Any) -> bool:
    """Return whether a trackable has values to save other than variables (tables, iterators).

    Reason: see `StagedTensor`.
    """
    return class_serializes(type(trackable))


def class_serializes(kind: type) -> bool:
    """Return whether objects of a class have their own values to save; see `serializes`.

    Reason: see `StagedTensor`.
    """
    base = tf.Module._serialize_to_tensors
    method = getattr(kind, "_serialize_to_tensors", None)
    return method is not None and method is not base


def serialize(trackable: Any) -> dict[str, tf.Tensor]:
    """Return the current values of a trackable, by local name.

    Reason: see `StagedTensor`.
    """
    return dict(trackable._serialize_to_tensors())


def deserialize(trackable: Any, tensors: Mapping[str, tf.Tensor]) -> None:
    """Set the values of a trackable that `serialize` returned.

    Reason: see `StagedTensor`.
    """
    trackable._restore_from_tensors(dict(tensors))


_READ_AT_ONCE = 256
"""The variables that one operation reads.

TensorFlow prepares an operation when it first runs, which takes 0.4 ms for each variable. Further
operations with the same types need no preparation.
"""


def variables_reader(
    variables: Sequence[tf.Variable], at_once: int = _READ_AT_ONCE
) -> Callable[[], list[tf.Tensor]]:
    """Return a function that reads many variables on the CPU at once, like `read_value`.

    Reason: the operation that reads many variables has no public name. One by one, ten thousand
    variables take two to six times as long, and to trace a `tf.function` over them takes twenty
    seconds.

    Args:
        variables: the variables, on the CPU, with any types and shapes.
        at_once: the number of variables that one operation reads.
    """
    order = list(range(len(variables)))
    if len(variables) > at_once:
        order.sort(key=lambda number: variables[number].dtype.as_datatype_enum)
    operations = []
    for start in range(0, len(order), at_once):
        group = [variables[number] for number in order[start : start + at_once]]
        dtypes = [variable.dtype.as_datatype_enum for variable in group]
        handles = [variable.handle for variable in group]
        operations.append((handles, ("N", len(group), "dtypes", dtypes)))
    place_of = sorted(range(len(order)), key=order.__getitem__)

    def read() -> list[tf.Tensor]:
        found: list[tf.Tensor] = []
        for handles, attributes in operations:
            found += execute.execute(
                b"_ReadVariablesOp", len(handles), handles, attributes, context.context()
            )
        return found if len(operations) < 2 else [found[place] for place in place_of]

    return read


def is_trackable(value: Any) -> bool:
    """Return whether TensorFlow's checkpoints can follow an object.

    Reason: the class `Trackable` is not public.
    """
    return hasattr(value, "_trackable_children")


def uninitialized(variable: Any) -> bool:
    """Return whether a Keras variable has no value yet (deferred initialisation).

    Reason: to read the value of such a variable would create it.
    """
    return getattr(variable, "_value", None) is None


@dataclass(frozen=True)
class GraphNode:
    """An object in a checkpoint of `tf.train.Checkpoint`.

    Args:
        children: the numbers of other objects, by the name of the attribute that refers to each.
        key: the key that reads its value, or empty if it is not a variable.
        name: the variable's name when it was saved.
    """

    children: dict[str, int]
    key: str
    name: str


def object_graph(serialized: bytes) -> list[GraphNode]:
    """Return the objects of a checkpoint; the first one is its root.

    Reason: `tf.train.CheckpointView` has the numbers of objects, but neither their keys nor their
    names.

    Args:
        serialized: the value under `OBJECT_GRAPH`.

    Raises:
        ValueError: If it is not such a message.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    try:
        graph = TrackableObjectGraph.FromString(serialized)
    except DecodeError as error:
        raise ValueError("its object graph is not a message of TensorFlow") from error
    nodes = []
    for node in graph.nodes:
        value = next((each for each in node.attributes if each.name == "VARIABLE_VALUE"), None)
        nodes.append(
            GraphNode(
                {child.local_name: child.node_id for child in node.children},
                value.checkpoint_key if value else "",
                value.full_name if value else "",
            )
        )
    return nodes


def encoded_graph(nodes: Sequence[GraphNode]) -> bytes:
    """Return the message from which `tf.train.Checkpoint.restore` knows the objects.

    Reason: TensorFlow makes it only while it writes a checkpoint, with the keys of its own.

    Args:
        nodes: the objects, the first one is the root.
    """
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph()
    for node in nodes:
        encoded = graph.nodes.add()
        for name, number in node.children.items():
            encoded.children.add(node_id=number, local_name=name)
        if node.key:
            encoded.attributes.add(
                name="VARIABLE_VALUE", full_name=node.name, checkpoint_key=node.key
            )
    return bytes(graph.SerializeToString())


def has_own_values(trackable: Any) -> bool:
    """Return whether TensorFlow stores values of an object, apart from those of its children.

    Reason: see `StagedTensor`; older classes have `_gather_saveables_for_checkpoint` instead.
    """
    older = "_gather_saveables_for_checkpoint"
    return (
        serializes(trackable)
        or isinstance(trackable, tf.Variable | tf.train.experimental.PythonState)
        or getattr(type(trackable), older, None) is not getattr(tf.Module, older)
    )


OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of the object graph in a checkpoint."""
