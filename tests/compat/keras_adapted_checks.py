"""Checks of `ckptkit/compat/keras_adapted.py`: one function for each name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers

from ckptkit.compat import keras_adapted

_TEXTS = tf.constant(["a b", "b c b", "d"])


def _idf(**options: Any) -> Any:
    return layers.TextVectorization(output_mode="tf_idf", **options)


def _lists(layer: Any) -> dict[str, list[Any]]:
    return {name: value.numpy().tolist() for name, value in keras_adapted.learnt(layer).items()}


def is_adapted():
    kinds = (layers.TextVectorization, layers.StringLookup, layers.IntegerLookup)
    made = [kind() for kind in kinds]
    made += [layers.Discretization(num_bins=2), layers.Hashing(3)]
    made += [layers.Normalization(mean=1.0, variance=4.0)]
    assert all(keras_adapted.is_adapted(layer) for layer in made)
    learns = layers.Normalization()
    learns.adapt(np.ones((2, 1)))
    assert not keras_adapted.is_adapted(learns)
    assert not keras_adapted.is_adapted(layers.Dense(1))


def inner_lookup():
    text = layers.TextVectorization(vocabulary=["a", "b"])
    inner = keras_adapted.inner_lookup(text)
    assert isinstance(inner, layers.StringLookup)
    assert inner.get_vocabulary() == text.get_vocabulary() == ["", "[UNK]", "a", "b"]
    assert keras_adapted.inner_lookup(inner) is inner


def identity():
    lookup, text, bins = layers.StringLookup(), _idf(), layers.Discretization(num_bins=2)
    for layer, data in ((lookup, _TEXTS), (text, _TEXTS), (bins, np.arange(8.0))):
        before = keras_adapted.identity(layer)
        again = keras_adapted.identity(layer)
        assert all(one is other for one, other in zip(before, again, strict=True))
        layer.adapt(data)
        after = keras_adapted.identity(layer)
        changed = [one is not other for one, other in zip(before, after, strict=True)]
        # The table, the idf weights, the salt, the boundaries, the mean.
        assert changed == [layer is not bins, layer is text, False, layer is bins, False]
    assert keras_adapted.identity(layers.Hashing(3, salt=[1, 2]))[2] == [1, 2]
    assert keras_adapted.identity(layers.Normalization(mean=1.0, variance=4.0))[4] is not None


def learnt():
    text, bins = _idf(), layers.Discretization(num_bins=2)
    assert _lists(text) == {"vocabulary": []}
    assert _lists(bins) == {"bin_boundaries": []}
    text.adapt(_TEXTS)
    found = _lists(text)
    assert [token.decode() for token in found["vocabulary"]] == text.get_vocabulary()[1:]
    # Each word occurs once, and the first weight is that of unknown words.
    assert np.allclose(found["idf_weights"], text(tf.constant(["[UNK] b d c a"]))[0])
    for lookup in (layers.IntegerLookup(vocabulary=[7, 5], invert=flag) for flag in (False, True)):
        assert _lists(lookup) == {"vocabulary": [7, 5]}
    assert _lists(layers.Discretization([0.5, 2.0])) == {"bin_boundaries": [0.5, 2.0]}
    assert _lists(layers.Normalization(mean=1.0, variance=4.0)) == {"mean": 1.0, "variance": 4.0}
    assert _lists(layers.Hashing(3, salt=7)) == {"salt": [7, 7]}
    assert _lists(layers.Hashing(3)) == {"salt": []}


def _examples() -> Iterator[tuple[Any, Any, tf.Tensor]]:
    """Return pairs of layers of a kind that have learned different things, and data for them."""
    words, numbers = tf.constant(["a b", "c", "d x"]), tf.constant([[0.1], [1.0], [9.0]])
    adapted, one, two = _idf(), [1.0, 2.0], [2.0, 1.0]
    adapted.adapt(_TEXTS)
    given = _idf(vocabulary=["a", "b"], idf_weights=two)
    yield adapted, _idf(), words
    yield given, _idf(vocabulary=["x"], idf_weights=[3.0]), words
    yield layers.StringLookup(vocabulary=["c", "a b"]), layers.StringLookup(vocabulary=["d"]), words
    if "salt" in inspect.signature(layers.StringLookup).parameters:
        first, second = (
            layers.StringLookup(vocabulary=["c"], num_oov_indices=9, salt=[salt, 2])
            for salt in (1, 3)
        )
        yield first, second, words
    yield layers.Discretization([0.5, 2.0]), layers.Discretization(num_bins=3), numbers
    yield layers.Hashing(99, salt=[1, 2]), layers.Hashing(99), words
    yield layers.Normalization(None, 1.0, 4.0), layers.Normalization(None, 0.0, 1.0), numbers
    yield layers.Normalization(-1, one, two), layers.Normalization(-1, two, one), numbers @ [one]


def learn():
    for source, target, data in _examples():
        if isinstance(target, layers.Normalization):
            target(data)
        assert _lists(source) != _lists(target)
        keras_adapted.learn(target, keras_adapted.learnt(source))
        assert _lists(source) == _lists(target)
        assert np.array_equal(source(data), target(data))
        for name in ("vocabulary", "idf_weights", "salt"):
            assert source.get_config().get(name) == target.get_config().get(name), name
    for text in (_idf(), _idf(vocabulary=["x"], idf_weights=[3.0])):
        keras_adapted.learn(text, keras_adapted.learnt(_idf()))
        assert _lists(text)["vocabulary"] == [], "set_vocabulary refuses an empty one"
