"""Private names of traced functions and the signatures of a SavedModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def computes_in_16_bits(function: Any) -> bool:
    """Whether a concrete function has an operation on 16-bit floats. Reason: the graph's inner
    functions are in its definition only.
    """
    definition = function.graph.as_graph_def()
    nodes = [
        *definition.node,
        *(node for inner in definition.library.function for node in inner.node_def),
    ]
    return any(attribute.type in _HALF for node in nodes for attribute in node.attr.values())


_HALF = frozenset({tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum})


def functions_of(loaded: Any) -> list[Any]:
    """The traced functions of an object that `tf.saved_model.load` gave, beside its signatures.

    Reason: they have their arguments' order, which signatures have not, and what a restored
    function was traced for has no public name.
    """
    children = tf.train.TrackableView.children(loaded).values()
    return [concrete for child in children for concrete in getattr(child, "concrete_functions", ())]


def signatures_in(content: bytes) -> tuple[dict[str, dict[str, dict[str, Any]]], str]:
    """The signatures in a `saved_model.pb`, each with its inputs and outputs by name, and the
    version of TensorFlow that wrote it.

    Reason: TensorFlow offers only loading, which builds the graphs.

    Raises:
        ValueError: where it is none.
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
                "inputs": _tensors_of(signature.inputs),
                "outputs": _tensors_of(signature.outputs),
            }
    return found, graphs[0].meta_info_def.tensorflow_version


def _tensors_of(infos: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "shape": None
            if info.tensor_shape.unknown_rank
            else [None if each.size < 0 else int(each.size) for each in info.tensor_shape.dim],
            "dtype": tf.as_dtype(info.dtype).name,
        }
        for name, info in sorted(infos.items())
    }
