"""Checks of `ckptkit/compat/keras_structure.py`: one function for each name."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from ckptkit.compat import keras_structure
from ckptkit.compat.keras_structure import LORA, POLICY
from tests.compat.small_model import model, x, y


def _dense():
    layer = layers.Dense(3, "relu")
    layer.build((None, 4))
    return layer


def structure_of():
    layer, dropout = _dense(), layers.Dropout(0.3)
    before = keras_structure.structure_of(layer)
    assert before[POLICY] is layer.dtype_policy
    assert (before["units"], before.get(LORA)) == (3, None)
    assert keras_structure.structure_of(dropout)["rate"] == 0.3
    for kind, shape in (
        (layers.Dense(3), (None, 4)),
        (layers.EinsumDense("ab,bc->ac", 3), (None, 4)),
        (layers.Embedding(5, 3), None),
        (layers.Conv1D(3, 2), (None, 4, 4)),
    ):
        kind.build(shape)
        kind.enable_lora(2, lora_alpha=5)
        assert keras_structure.structure_of(kind)[LORA] == (2, 5), kind


def change_structure():
    """The same variables in the same order as after the user's own calls."""
    for change in (
        lambda layer: layer.enable_lora(2, lora_alpha=5),
        lambda layer: layer.quantize("int8"),
        lambda layer: setattr(layer, "dtype_policy", keras.DTypePolicy("mixed_bfloat16")),
    ):
        changed, other = _dense(), _dense()
        change(changed)
        now, then = map(keras_structure.structure_of, (changed, other))
        values = {name: value for name, value in now.items() if then.get(name) != value}
        assert values
        keras_structure.change_structure(other, values)
        shapes = [[(v.name, v.shape, v.dtype) for v in each.weights] for each in (changed, other)]
        assert shapes[0] == shapes[1]
        assert keras_structure.structure_of(other) == now
    with pytest.raises(ValueError, match="built"):
        keras_structure.change_structure(layers.Dense(3), {LORA: (2, 2)})
    dropout = layers.Dropout(0.3)
    keras_structure.change_structure(dropout, {"rate": 0.5})
    assert dropout.rate == 0.5


def repeated_changes_allowed():
    layer = _dense()
    layer.enable_lora(2)
    with keras_structure.repeated_changes_allowed([layer]):
        layer.enable_lora(2)
        layer.quantize("int8")
    assert layer.quantization_mode is None
    with pytest.raises(ValueError, match="already enabled"):
        layer.enable_lora(2)
    layer.quantize("int8")
    assert layer.quantization_mode == "int8"


def optimizer_arguments():
    adam = keras.optimizers.Adam(0.1, beta_1=0.7, clipnorm=2.0, weight_decay=0.1)
    found = keras_structure.optimizer_arguments(adam)
    assert (found["beta_1"], found["clipnorm"], found["weight_decay"]) == (0.7, 2.0, 0.1)
    assert "learning_rate" not in found
    config = adam.get_config().keys() - {"name", "learning_rate"}
    assert config <= found.keys()


def compile_arguments():
    made = model()
    made.compile("adam", "mae", loss_weights=[2.0], run_eagerly=True, jit_compile=False)
    assert keras_structure.compile_arguments(made) == {
        "run_eagerly": True,
        "jit_compile": False,
        "loss": "mae",
        "loss_weights": [2.0],
    }


def set_compile_arguments():
    """Training computes with them, and the metrics and the optimizer stay."""
    one, other = model(), model()
    one.compile("sgd", "mae", loss_weights=[3.0], metrics=["mse"], jit_compile=False)
    other.compile("sgd", "mse", metrics=["mse"], jit_compile=False)
    optimizer, metrics = other.optimizer, other._compile_metrics
    wanted = keras_structure.compile_arguments(one)
    keras_structure.set_compile_arguments(other, wanted)
    assert keras_structure.compile_arguments(other) == wanted
    assert (other.optimizer, other._compile_metrics) == (optimizer, metrics)
    other.set_weights(one.get_weights())
    for made in (one, other):
        made.fit(x, y, shuffle=False, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def trains_replaced_weights():
    made = model(layers.Dense(2), layers.Dense(1))
    assert not keras_structure.trains_replaced_weights(made), "the optimizer is not built"
    made.fit(x, y, verbose=0)
    assert not keras_structure.trains_replaced_weights(made)
    made.layers[-1].quantize("int8")
    assert keras_structure.trains_replaced_weights(made)


def build_optimizer():
    made = model(layers.Dense(1))
    keras_structure.build_optimizer(made)
    assert made.optimizer.built
