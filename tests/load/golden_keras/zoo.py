"""One model with every kind of layer that has state, for any version of Keras or tf_keras.

It imports no Keras: the versions that wrote the golden files are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Layers = dict[str, tuple[str, Callable[[Any], Any]]]

LAYERS: Layers = {
    # By name: what goes in, and how the layer is made from `keras.layers`.
    "dense_used_first": ("vector", lambda k: k.Dense(3, activation="tanh")),
    "dense_used_second": ("vector", lambda k: k.Dense(3, activation="tanh")),
    "einsum": ("sequence", lambda k: k.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")),
    "embedding": ("ids", lambda k: k.Embedding(5, 2)),
    "conv1": ("sequence", lambda k: k.Conv1D(3, 2)),
    "conv2": ("image", lambda k: k.Conv2D(2, 2)),
    "conv2_second": ("image", lambda k: k.Conv2D(2, 2)),
    "depthwise": ("image", lambda k: k.DepthwiseConv2D(2)),
    "separable": ("image", lambda k: k.SeparableConv2D(2, 2)),
    "transposed": ("image", lambda k: k.Conv2DTranspose(2, 2)),
    "batch": ("sequence", lambda k: k.BatchNormalization()),
    "layer": ("sequence", lambda k: k.LayerNormalization()),
    "group": ("image", lambda k: k.GroupNormalization(2)),
    "lstm": ("sequence", lambda k: k.LSTM(2)),
    "lstm_second": ("sequence", lambda k: k.LSTM(2)),
    "gru": ("sequence", lambda k: k.GRU(2)),
    "simple": ("sequence", lambda k: k.SimpleRNN(2)),
    "both_ways": ("sequence", lambda k: k.Bidirectional(k.LSTM(2))),
    "stacked": ("sequence", lambda k: k.RNN([k.LSTMCell(2), k.GRUCell(2)])),
    "each": ("sequence", lambda k: k.TimeDistributed(k.Dense(2))),
    "prelu": ("sequence", lambda k: k.PReLU()),
    "attention": ("attention", lambda k: k.MultiHeadAttention(2, 2)),
    "normalization": ("vector", lambda k: k.Normalization()),
}

_INPUTS = {
    "vector": ((3,), "float32"),
    "sequence": ((4, 3), "float32"),
    "image": ((4, 4, 2), "float32"),
    "ids": ((4,), "int32"),
}
"""Shape and type of the model's inputs. Further ones are made of them."""


_RESHAPED = {"volume": (4, 4, 2, 1), "lines": (4, 4, 2), "volumes": (2, 2, 4, 2, 1)}
"""What is made of the image, for layers of other ranks."""


def inputs() -> list[np.ndarray]:
    """Return four examples for the inputs of `zoo`, the same in every process."""
    found = []
    for shape, dtype in _INPUTS.values():
        size = 4 * int(np.prod(shape))
        values = np.arange(size) % 5 if dtype == "int32" else np.sin(np.arange(size))
        found.append(values.reshape(4, *shape).astype(dtype))
    return found


def zoo(
    keras: Any,
    *,
    reverse: bool = False,
    named: bool = False,
    more: Layers | None = None,
) -> Any:
    """Return the model, with random weights.

    Args:
        keras: `keras` or `tf_keras`, of any version.
        reverse: whether the layers are made in the reverse of the order in which they are used, so
            that their automatic names are others.
        named: whether each layer has a name of its own.
        more: further layers.
    """
    layers = {**LAYERS, **(more or {})}
    made = {}
    for name in reversed(layers) if reverse else layers:
        layer = layers[name][1](keras.layers)
        if named:
            layer.name = name
        made[name] = layer
    sources = {name: keras.Input(shape, dtype=dtype) for name, (shape, dtype) in _INPUTS.items()}
    found, vector = [], sources["vector"]
    for name, (source, _) in layers.items():
        if source == "attention":
            output = made[name](sources["sequence"], sources["sequence"])
        elif source == "pair":
            output = made[name]([sources["sequence"], sources["sequence"]])
        elif source == "vector":
            output = vector = made[name](vector)
        elif source in _RESHAPED:
            reshaped = keras.layers.Reshape(_RESHAPED[source])(sources["image"])
            output = made[name](reshaped)
        else:
            output = made[name](sources[source])
        found.append(keras.layers.Flatten()(output))
    return keras.Model(list(sources.values()), keras.layers.Concatenate()(found))


def randomize(model: Any, seed: int) -> None:
    """Gives every weight of a model other values, which make sense for variances too."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, size=value.shape).astype(value.dtype)
            if np.asarray(value).dtype.kind == "f"
            else value
            for value in model.get_weights()
        ]
    )
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):  # Normalization keeps constants of its own
            layer.finalize_state()
