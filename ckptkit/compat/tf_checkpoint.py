"""Private names of `tf.train.Checkpoint` and TensorFlow's trackables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context, execute


class StagedTensor(tf.Module):
    """A tensor that `tf.train.Checkpoint` writes as if it were a variable.

    Reason: `tf.Variable` holds no variants (the state of tf.data iterators), and costs a copy on
    some devices. The protocol of TensorFlow's trackables, `_serialize_to_tensors`, has no public
    name.
    """

    def __init__(self, tensor: tf.Tensor) -> None:
        super().__init__()
        self._staged = tensor

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        return {"VARIABLE_VALUE": self._staged}

    def _restore_from_tensors(self, restored_tensors: Mapping[str, tf.Tensor]) -> None:
        raise TypeError("A staged tensor is only written.")


def serializes(trackable: Any) -> bool:
    """Whether a trackable has values of its own to save (tables, iterators), beyond the variables
    in it.
    """
    base = tf.Module._serialize_to_tensors
    method = getattr(type(trackable), "_serialize_to_tensors", None)
    return method is not None and method is not base


def serialize(trackable: Any) -> dict[str, tf.Tensor]:
    """A trackable's values now, by local name (see `StagedTensor`)."""
    return dict(trackable._serialize_to_tensors())


def deserialize(trackable: Any, tensors: Mapping[str, tf.Tensor]) -> None:
    """Gives a trackable the values that `serialize` took."""
    trackable._restore_from_tensors(dict(tensors))


def variables_reader(variables: Sequence[tf.Variable]) -> Callable[[], list[tf.Tensor]]:
    """Reads the values of variables of the CPU, as `read_value` gives each of them, each time it is
    called.

    Reason: the operation that reads many at once has no public name. One by one, ten thousand
    variables take two to six times as long, and a `tf.function` over them is traced for twenty
    seconds.
    """
    if not variables:
        return list
    handles = [variable.handle for variable in variables]
    attributes = (
        "N",
        len(variables),
        "dtypes",
        [variable.dtype.as_datatype_enum for variable in variables],
    )

    def read() -> list[tf.Tensor]:
        return list(
            execute.execute(
                b"_ReadVariablesOp", len(handles), handles, attributes, context.context()
            )
        )

    return read


def is_trackable(value: Any) -> bool:
    """Whether TensorFlow's checkpoints know how to follow this object. Reason: `Trackable` is not
    exported.
    """
    return hasattr(value, "_trackable_children")


def uninitialized(variable: Any) -> bool:
    """Whether a Keras variable has no value yet (deferred initialisation)."""
    return getattr(variable, "_value", None) is None


@dataclass(frozen=True)
class GraphNode:
    """An object in a checkpoint of `tf.train.Checkpoint`.

    Args:
        children: numbers of other objects, by the name of the attribute that leads there.
        key: what its value is read by, or empty where it is no variable.
        name: of the variable, as it was called when it was saved.
    """

    children: dict[str, int]
    key: str
    name: str


def object_graph(serialized: bytes) -> list[GraphNode]:
    """The objects of a checkpoint; the first one is its root.

    Reason: `tf.train.CheckpointView` has the objects' numbers, but not the keys that their values
    are read by, nor their names.
    """
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    nodes = []
    for node in TrackableObjectGraph.FromString(serialized).nodes:
        value = next((each for each in node.attributes if each.name == "VARIABLE_VALUE"), None)
        nodes.append(
            GraphNode(
                {child.local_name: child.node_id for child in node.children},
                value.checkpoint_key if value else "",
                value.full_name if value else "",
            )
        )
    return nodes


OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of that graph in a checkpoint."""
