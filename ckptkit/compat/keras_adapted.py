"""Wraps private names to read and set the learned state of Keras' preprocessing layers.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Parts = dict[str, tf.Tensor]
"""Values by name: `vocabulary`, `idf_weights`, `salt`, `bin_boundaries`, `mean`, `variance`."""

_LOOKUPS = (keras.layers.StringLookup, keras.layers.IntegerLookup)


def is_adapted(layer: Any) -> bool:
    """Return whether a layer keeps learned or given state outside its weights.

    A Normalization that learns has weights; a Normalization with a given mean has constants.

    Reason: only the private attribute shows whether the mean was given.
    """
    if isinstance(layer, keras.layers.Normalization):
        return getattr(layer, "input_mean", None) is not None
    return isinstance(
        layer,
        (
            *_LOOKUPS,
            keras.layers.TextVectorization,
            keras.layers.Discretization,
            keras.layers.Hashing,
        ),
    )


def inner_lookup(layer: Any) -> Any:
    """Return the lookup inside a TextVectorization, or the layer itself.

    Reason: the public methods of TextVectorization decode every token, and give no idf weights.
    """
    return layer._lookup_layer if isinstance(layer, keras.layers.TextVectorization) else layer


def identity(layer: Any) -> tuple[Any, ...]:
    """Return the objects that contain a layer's learned state; other objects mean a change.

    Reason: to read a vocabulary takes a second for a million words, and layers do not report a
    change. A table is never changed, because Keras makes a new one.
    """
    layer = inner_lookup(layer)
    return tuple(
        getattr(layer, name, None)
        for name in ("lookup_table", "idf_weights_const", "salt", "bin_boundaries", "input_mean")
    )


def learnt(layer: Any) -> Parts:
    """Return the learned or given state of a layer as tensors.

    An empty tensor means that the layer has no such value.

    Reason: see `inner_lookup`; the other values are in attributes without a public name.
    """
    with tf.device("CPU:0"):
        if isinstance(layer, keras.layers.Normalization):
            return {
                "mean": _constant(layer.input_mean),
                "variance": _constant(layer.input_variance),
            }
        if isinstance(layer, keras.layers.Discretization):
            return {"bin_boundaries": _constant(layer.bin_boundaries)}
        if isinstance(layer, keras.layers.Hashing):
            return {"salt": _salt(layer)}
        lookup = inner_lookup(layer)
        parts = {"vocabulary": _tokens(lookup)}
        idf = getattr(lookup, "idf_weights_const", None)
        if idf is not None:
            parts["idf_weights"] = tf.identity(idf)
        if getattr(lookup, "salt", None) is not None:
            parts["salt"] = _salt(lookup)
        return parts


def learn(layer: Any, parts: Mapping[str, tf.Tensor]) -> None:
    """Set the learned or given state of a layer to a result of `learnt`.

    Functions that are already traced keep the old values.

    Reason: `set_vocabulary` decodes every token, and refuses an empty vocabulary or, after a call
    of the layer, a different size.

    Raises:
        KeyError: If a value is missing.
    """
    if isinstance(layer, keras.layers.Normalization):
        layer.input_mean, layer.input_variance = (
            parts[name].numpy().tolist() for name in ("mean", "variance")
        )
        if layer.built:
            layer.build(layer._build_input_shape)
    elif isinstance(layer, keras.layers.Discretization):
        layer.bin_boundaries = parts["bin_boundaries"].numpy().tolist() or None
    elif isinstance(layer, keras.layers.Hashing):
        layer.salt = parts["salt"].numpy().tolist() or None
        layer.strong_hash = layer.salt is not None
    else:
        _learn_vocabulary(inner_lookup(layer), parts)


def _learn_vocabulary(lookup: Any, parts: Mapping[str, tf.Tensor]) -> None:
    tokens = parts["vocabulary"]
    lookup.lookup_table = (
        lookup._lookup_table_from_tokens(tokens)
        if int(tf.size(tokens))
        else lookup._uninitialized_lookup_table()
    )
    # Keras compares a new size with this one. The shapes of the next layers are compared elsewhere.
    lookup._frozen_vocab_size = None
    if int(tf.size(tokens)):
        lookup._record_vocabulary_size()
    if "idf_weights" in parts:
        lookup.idf_weights = tf.Variable(parts["idf_weights"], trainable=False)
        lookup.idf_weights_const = lookup.idf_weights.value()
    if "salt" in parts:
        lookup.salt = parts["salt"].numpy().tolist()
    # `get_config` returns the arguments of the constructor.
    if lookup.input_vocabulary is not None:
        lookup.input_vocabulary = [
            token.decode(errors="surrogateescape") if isinstance(token, bytes) else token
            for token in tokens.numpy().tolist()
        ]
        if "idf_weights" in parts:
            start = lookup._token_start_index()
            lookup.input_idf_weights = (
                parts["idf_weights"].numpy()[start : start + int(tf.size(tokens))].tolist()
            )


def _tokens(lookup: Any) -> tf.Tensor:
    """Return the vocabulary of a lookup without its special tokens, in its order."""
    kind = tf.as_dtype(lookup.vocabulary_dtype)
    if not int(lookup.lookup_table.size()):
        return tf.constant([], kind)
    keys, values = lookup.lookup_table.export()
    tokens, indices = (values, keys) if lookup.invert else (keys, values)
    return tf.gather(tokens, tf.argsort(indices))


def _salt(layer: Any) -> tf.Tensor:
    salt = layer.salt
    pair = [] if salt is None else [salt, salt] if isinstance(salt, int) else list(salt)
    return tf.constant(np.asarray(pair, "int64"))


def _constant(value: Any) -> tf.Tensor:
    return tf.constant(np.asarray([] if value is None else value, "float64"))
