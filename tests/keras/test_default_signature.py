"""The default signature of an exported model is the model itself, or is chosen by the user."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.export.signatures import find_endpoints
from ckptkit.exports.export_record import read_export

VECTOR = tf.TensorSpec([None], tf.float32)


@tf.function(input_signature=[VECTOR])
def doubled(x):
    return 2 * x


def halved(x):
    return x / 2


class Coder(tf.Module):
    @tf.function(input_signature=[VECTOR])
    def encode(self, x):
        return x + 1

    @tf.function(input_signature=[VECTOR])
    def decode(self, x):
        return x - 1

    def plain(self, x):
        return x * 3


class Callable(Coder):
    @tf.function
    def __call__(self, x):
        return x * 5


class Ready(Coder):
    @tf.function(input_signature=[VECTOR])
    def __call__(self, x):
        return x * 5


class Never(keras.Model):
    def call(self, x):
        return x

    def encode(self, x):
        return x + 1


def names(model, signatures=None, sample=None):
    return [endpoint.name for endpoint in find_endpoints(model, signatures, sample)]


def test_a_function_is_served_beside_its_signatures(trainings, tmp_path):
    path = ckptkit.export_saved_model(doubled, tmp_path, signatures={"other": (halved, VECTOR)})
    served = tf.saved_model.load(str(path)).signatures
    x = tf.constant(np.random.default_rng().normal(size=3).astype("float32"))
    for name, expected in (
        ("serving_default", doubled(x)),
        ("serve", doubled(x)),
        ("other", halved(x)),
    ):
        (found,) = served[name](x=x).values()
        assert found.numpy().tobytes() == expected.numpy().tobytes(), name
    assert read_export(path).default == "serve"


def test_what_is_not_known_is_an_error_that_says_what_to_pass():
    for model, signatures in (
        (halved, {"other": doubled}),
        (Never(), {"encode": (Never().encode, VECTOR)}),
        (Callable(), {"encode": doubled}),
        (Callable(), None),
    ):
        with pytest.raises(
            ckptkit.ExportError,
            match=r"[Pp]ass sample=.* signatures=\{'serving_default': \.\.\.\} chooses "
            r"another one",
        ):
            find_endpoints(model, signatures, None)
        assert names(model, signatures, sample=np.ones(2, "float32"))[0] == "serve"
        assert (
            names(model, {**(signatures or {}), "serving_default": doubled})[0] == "serving_default"
        )


def test_what_was_given_is_the_default_under_any_name():
    assert names(halved, {"other": doubled, "half": (halved, VECTOR)}) == ["half", "other"]
    module = Callable()
    for itself in (module, module.__call__):
        assert names(module, {"other": doubled, "five": (itself, VECTOR)})[:2] == ["five", "other"]


def test_methods_do_not_go_where_signatures_come():
    assert names(Ready(), {"plain": (Ready().plain, VECTOR)}) == [
        "serve",
        "plain",
        "decode",
        "encode",
    ]
    assert names(Coder(), {"plain": (Coder().plain, VECTOR)}) == ["plain", "decode", "encode"]
    module = Coder()
    assert names(module, {"code": module.encode}) == ["code", "decode"]
    assert names(module, {"encode": doubled}) == ["encode", "decode"]
    assert names(module) == ["decode", "encode"]
    with pytest.raises(ckptkit.ConfigError, match="has no function with known inputs"):
        names(tf.Module())


def test_a_default_that_was_chosen_for_the_user_is_logged(trainings, tmp_path):
    with trainings.logged() as lines:
        path = ckptkit.export_saved_model(Coder(), tmp_path)
    assert read_export(path).default == "decode"
    assert any("serving_default is an alias of 'decode'" in line for line in lines)
