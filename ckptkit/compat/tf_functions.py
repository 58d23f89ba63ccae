"""Wraps private names of traced functions, and of signatures in a SavedModel.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def computes_in_16_bits(function: Any) -> bool:
    """Return whether a concrete function has an operation on 16-bit floats.

    Reason: `graph.get_operations` does not list nested functions; only the graph's definition does.
    """
    definition = function.graph.as_graph_def()
    nodes = [
        *definition.node,
        *(node for inner in definition.library.function for node in inner.node_def),
    ]
    return any(
        attribute.type in _16_BIT_FLOATS for node in nodes for attribute in node.attr.values()
    )


_16_BIT_FLOATS = frozenset({tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum})


def functions_of(loaded: Any) -> list[Any]:
    """Return the traced functions, without signatures, of a result of `tf.saved_model.load`.

    Reason: these functions know the order of their arguments, but signatures do not. A restored
    function has no public list of its traces.
    """
    children = tf.train.TrackableView.children(loaded).values()
    return [concrete for child in children for concrete in getattr(child, "concrete_functions", ())]


def signatures_in(content: bytes) -> tuple[dict[str, dict[str, dict[str, Any]]], str]:
    """Return the signatures in a `saved_model.pb`, and the TensorFlow version that wrote it.

    Reason: the only public way is to load the model, which builds the graphs.

    Args:
        content: the bytes of the file.

    Returns:
        The `inputs` and `outputs` of each signature, by name; and the version.

    Raises:
        ValueError: If it is not a SavedModel.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        graphs = SavedModel.FromString(content).meta_graphs
    except DecodeError as error:
        raise ValueError(str(error)) from error
    if not graphs:
        raise ValueError("it has no graph")
    found = {}
    for name, signature in sorted(graphs[0].signature_def.items()):
        if not name.startswith("__"):
            found[name] = {
                "inputs": _described(signature.inputs),
                "outputs": _described(signature.outputs),
            }
    return found, graphs[0].meta_info_def.tensorflow_version


def _described(infos: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "shape": None
            if info.tensor_shape.unknown_rank
            else [None if each.size < 0 else int(each.size) for each in info.tensor_shape.dim],
            "dtype": tf.as_dtype(info.dtype).name,
        }
        for name, info in sorted(infos.items())
    }
