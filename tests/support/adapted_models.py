"""Small models with a preprocessing layer of each kind that learns, or is given, something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def _words(first: bool) -> list[str]:
    """The same words, with other numbers for the second program."""
    words = ["red", "green", "blue"] if first else ["blue", "green", "red"]
    return [word for number, word in enumerate(words) for _ in range(number + 1)]


def _adapted(layer: Any, data: Any) -> Any:
    layer.adapt(data)
    return layer


def _numbers(first: bool) -> np.ndarray:
    return np.linspace(0, 1 if first else 10, 101)[:, None].astype("float32")


def _texts(first: bool) -> list[str]:
    return (
        ["red green", "green", "blue green"]
        if first
        else ["red blue", "blue", "green blue", "blue blue"]
    )


STRING, INT, FLOAT = ("string", (1,)), ("int64", (1,)), ("float32", (1,))

KINDS: dict[str, tuple[tuple[str, tuple[int, ...]], bool, Callable[[bool], Any]]] = {
    # The type of input, whether an embedding follows, and the layer of the first or second program.
    "string_adapted": (STRING, True, lambda a: _adapted(layers.StringLookup(), _words(a))),
    "string_given": (
        STRING,
        True,
        lambda a: layers.StringLookup(vocabulary=["r", "g"] if a else ["g", "r"]),
    ),
    "string_salted": (
        STRING,
        True,
        lambda a: _adapted(layers.StringLookup(num_oov_indices=2), _words(a)),
    ),
    "string_inverted": (
        INT,
        False,
        lambda a: layers.StringLookup(vocabulary=["r", "g"] if a else ["g", "r"], invert=True),
    ),
    "integer_adapted": (
        INT,
        True,
        lambda a: _adapted(layers.IntegerLookup(), np.array([7, 8, 8] if a else [7, 7, 8])),
    ),
    "text_adapted": (
        ("string", ()),
        True,
        lambda a: _adapted(layers.TextVectorization(output_sequence_length=2), _words(a)),
    ),
    "text_tf_idf": (
        ("string", ()),
        False,
        lambda a: _adapted(
            layers.TextVectorization(output_mode="tf_idf", max_tokens=4, pad_to_max_tokens=True),
            _texts(a),
        ),
    ),
    "text_multi_hot": (
        ("string", ()),
        False,
        lambda a: _adapted(layers.TextVectorization(output_mode="multi_hot"), _words(a)),
    ),
    "bins_adapted": (
        FLOAT,
        True,
        lambda a: _adapted(layers.Discretization(num_bins=4), _numbers(a)),
    ),
    "bins_given": (
        FLOAT,
        True,
        lambda a: layers.Discretization([0.2, 0.6] if a else [0.1, 0.4]),
    ),
    "hashing": (STRING, True, lambda a: layers.Hashing(5, salt=3 if a else 4)),
    "normalization_adapted": (
        FLOAT,
        False,
        lambda a: _adapted(layers.Normalization(), _numbers(a)),
    ),
    "normalization_given": (
        FLOAT,
        False,
        lambda a: layers.Normalization(mean=3.0 if a else 4.0, variance=2.0),
    ),
}

INPUTS: dict[str, Any] = {
    "string": ["red", "green", "blue", "r", "g", "green red"],
    "int64": [7, 8, 1, 2, 0, 3],
    "float32": [0.1, 0.3, 0.5, 0.9, 5.0, 9.0],
}


def inputs(kind: str) -> tf.Tensor:
    """Return six inputs for which the two programs' layers give other outputs."""
    (dtype, shape), _, _ = KINDS[kind]
    return tf.reshape(tf.constant(INPUTS[dtype], dtype), (6, *shape))


def build(kind: str, first: bool, seed: int = 0) -> keras.Model:
    """Return a compiled model.

    Args:
        kind: one of `KINDS`.
        first: whether its layer is that of the first program; else it has learnt something else.
        seed: of its weights.
    """
    (dtype, shape), embedded, make = KINDS[kind]
    keras.utils.set_random_seed(seed)
    source = keras.Input(shape, dtype=dtype)
    found = make(first)(source)
    if kind == "string_inverted":
        found = layers.StringLookup(vocabulary=["r", "g"])(found)
        embedded = True
    if embedded:
        found = layers.Flatten()(layers.Embedding(8, 3)(found))
    model = keras.Model(source, layers.Dense(1)(found))
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    return model


def outputs(model: keras.Model, kind: str) -> list[float]:
    """Return what a model gives for `inputs`."""
    return [float(value) for value in np.ravel(model.predict(inputs(kind), verbose=0))]
