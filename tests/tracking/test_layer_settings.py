"""The settings of layers: the same in each build and each process, whatever Keras numbers on."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
from keras import layers

from ckptkit.restore.layer_comparison import compare_layers
from ckptkit.tracking.layer_settings import (
    begin_with_layers,
    configured_layers,
    remember_layers,
    stable_names,
)

EXAMPLES = {
    "Conv2DTranspose": {"filters": 2, "kernel_size": 2},
    "Cropping1D": {},
    "Dense": {"units": 2, "kernel_regularizer": "l2", "kernel_initializer": "he_normal"},
    "EinsumDense": {"equation": "ab,bc->ac", "output_shape": 3},
    "Embedding": {"input_dim": 4, "output_dim": 2},
    "Permute": {"dims": (1,)},
    "RepeatVector": {"n": 2},
    "Rescaling": {"scale": 0.5},
    "Reshape": {"target_shape": (4, 1)},
}
NEEDED = {
    "filters": 2, "kernel_size": 2, "units": 3, "rate": 0.1, "stddev": 0.1, "factor": 0.1,
    "height": 4, "width": 4, "cropping": 1, "num_heads": 2, "key_dim": 2, "num_bins": 3,
    "num_tokens": 4, "axes": 1, "padding": 1, "theta": 1.0, "target_shape": (2,), "dims": (1,),
    "head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1,
}  # fmt: skip


def makeable():
    """Return the layers of Keras that can be made from simple arguments, with those arguments."""
    found = {}
    for name, cls in sorted(vars(layers).items()):
        if not inspect.isclass(cls) or not issubclass(cls, layers.Layer) or name == "Layer":
            continue
        needed = [
            each.name
            for each in inspect.signature(cls.__init__).parameters.values()
            if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
        ][1:]
        if name in EXAMPLES or all(each in NEEDED for each in needed):
            found[name] = cls, EXAMPLES.get(name) or {each: NEEDED[each] for each in needed}
    return found


def by_name(found):
    return {(each.path, key): value for each in found for key, value in each.settings.items()}


def test_each_layer_of_keras_has_the_same_settings_in_a_second_build():
    kinds, compared = makeable(), 0
    assert len(kinds) > 80
    for name, (cls, arguments) in kinds.items():
        try:
            first, second = (keras.Sequential([cls(**arguments)]) for _ in range(2))
        except (ImportError, TypeError, ValueError):  # some need scipy, or other arguments
            continue
        then, now = configured_layers(first), begin_with_layers(second)
        assert then == now, name
        compared += len(now[1].settings)
    assert compared > 500, "settings were compared"


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_building_a_layer_changes_none_of_its_settings(rank):
    """A program may build its model before `fit`, or leave it to the first batch."""
    built, differing = 0, {}
    for name, (cls, arguments) in makeable().items():
        try:
            model = keras.Sequential([cls(**arguments)])
            before = by_name(configured_layers(model))
            model.build((2, *[4] * rank))
        except Exception:
            continue
        if not model.built:
            continue
        after = by_name(configured_layers(model))
        different = {key for key in before.keys() & after.keys() if before[key] != after[key]}
        if different:
            differing[name] = different
        built += 1
    assert not differing
    assert built > 10


def test_what_adapt_has_learnt_is_no_setting():
    numbers, words = np.random.default_rng().random((50, 2)), np.array(["a", "b", "b c"])
    for layer, data in [
        (layers.Normalization(), numbers),
        (layers.Discretization(num_bins=3), numbers),
        (layers.StringLookup(), words),
        (layers.TextVectorization(), words),
        (layers.IntegerLookup(), np.array([1, 2])),
    ]:
        model = keras.Sequential([layer])
        before = configured_layers(model)
        layer.adapt(data)
        assert by_name(configured_layers(model)) == by_name(before), layer.name
    # A vocabulary in the code is state as well: a resume restores the one of the checkpoint.
    given = configured_layers(keras.Sequential([layers.StringLookup(vocabulary=["a", "b"])]))
    assert "vocabulary" not in given[1].settings


def test_automatic_names_are_numbered_as_in_a_new_process():
    for _ in range(2):
        parts = [layers.Dense(1), layers.ReLU(), layers.Dense(1), layers.Dense(1, name="top")]
        assert stable_names(parts) == ["dense", "re_lu", "dense_1", "top"]
    assert stable_names([layers.Dense(1, name="dense_9")]) == ["dense"], (
        "a name like an automatic one counts as one"
    )


class Block(layers.Layer):
    """A layer of the user's own, with parts that its configuration does not mention."""

    def __init__(self, rate):
        super().__init__()
        self.drop = layers.Dropout(rate)
        self.steps = [layers.Dense(2), {"gate": layers.Dense(2, "sigmoid")}]

    def call(self, x):
        return self.drop(x)


class Subclassed(keras.Model):
    def __init__(self, rate=0.1):
        super().__init__()
        self.block = Block(rate)
        self.inner = keras.Sequential([layers.ReLU(), layers.Dense(1)])

    def call(self, x):
        return self.inner(self.block(x))


def functional(*, rate=0.1, scale=0.5, skip=True, dense="relu"):
    inputs = keras.Input((4,))
    hidden = layers.Dense(4, dense, name="hidden")(inputs)
    x = layers.Dropout(rate, seed=np.random.default_rng().integers(99).item())(hidden)
    x = x + (hidden if skip else inputs)
    return keras.Model(inputs, layers.Dense(1)(x * scale))


def differences(then, now, **options):
    found = compare_layers(configured_layers(then), configured_layers(now), "model", **options)
    return {name: (found.then[name], found.now[name]) for name in found.now}


def test_what_differs_in_a_functional_model_is_named():
    assert differences(functional(), functional()) == {}
    assert differences(functional(), functional(rate=0.3)) == {"dropout.rate": (0.1, 0.3)}
    assert differences(functional(), functional(dense="tanh")) == {
        "hidden.activation": ("relu", "tanh")
    }
    assert list(differences(functional(), functional(scale=0.25))) == ["multiply.inputs"]
    assert differences(functional(), functional(skip=False)) == {
        "add.inputs": ([["dropout#2", "dense#1"]], [["dropout#2", "input_layer#0"]])
    }


def test_what_differs_in_a_subclassed_model_is_named():
    assert differences(Subclassed(), Subclassed()) == {}
    assert differences(Subclassed(0.1), Subclassed(0.2)) == {
        "block.rate": (0.1, 0.2),
        "block/dropout.rate": (0.1, 0.2),
    }


def test_names_that_a_program_numbers_on_are_no_difference():
    def made(number):
        return keras.Sequential([layers.Dense(2, name=f"conv{number}"), layers.ReLU()])

    assert differences(made(1), made(2)) == {}


def test_another_policy_of_types_is_a_difference():
    def made(dtype):
        return keras.Sequential([layers.Dense(2, dtype=dtype)])

    assert differences(made("float32"), made(keras.DTypePolicy("float32"))) == {}
    assert differences(made("float32"), made("mixed_bfloat16")) == {
        "dense.dtype": ("float32", "mixed_bfloat16")
    }


def test_a_layer_that_was_added_or_removed_is_named():
    then = keras.Sequential([layers.Dense(2), layers.Dense(2)])
    now = keras.Sequential([layers.Dense(2), layers.ReLU(), layers.Dense(2)])
    assert list(differences(then, now)) == ["re_lu"]
    assert list(differences(now, then)) == ["re_lu"]
    assert differences(now, then, complete=False) == {}, "it may be made when the model is built"


def test_what_a_callback_has_changed_is_no_change_of_the_code():
    model = functional(rate=0.1)
    began = begin_with_layers(model)
    dropout = next(layer for layer in model.layers if isinstance(layer, layers.Dropout))
    dropout.rate = 0.4
    assert configured_layers(model) == began, "while training runs"
    remember_layers(model)
    assert begin_with_layers(model) == began, "in a later attempt of this process"
    remember_layers(model)
    dropout.rate = 0.2
    changed = by_name(begin_with_layers(model))
    assert changed["dropout", "rate"] == 0.2, "the code changes it between two attempts"


def test_a_get_config_that_fails_is_no_obstacle():
    class Odd(layers.Layer):
        def get_config(self):
            raise RuntimeError("not now")

    model = keras.Sequential([Odd(), layers.Dropout(0.1)])
    assert [each.path for each in configured_layers(model)] == ["", "odd", "dropout"]
