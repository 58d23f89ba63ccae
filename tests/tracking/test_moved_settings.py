"""Settings that training changes, of models and of optimizers that belong to no model."""

from __future__ import annotations

from typing import Any

import keras

from ckptkit.tracking.moved_settings import MovedSettings
from ckptkit.tracking.program_objects import ProgramObjects


def settings() -> tuple[MovedSettings, dict[str, Any]]:
    """Make a program's objects anew, and note their settings."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="last")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    state = {"g_optimizer": keras.optimizers.Adam(0.1), "model": model}
    objects = ProgramObjects()
    objects.note({name: (name, value) for name, value in state.items()})
    moved = MovedSettings(objects)
    moved.note()
    return moved, state


def test_an_optimizer_of_a_loop():
    moved, state = settings()
    assert moved.now() == {}
    state["g_optimizer"].clipnorm = 0.5
    state["model"].optimizer.momentum = 0.9
    record = moved.now()
    other, fresh = settings()
    assert other.apply(record) == []
    assert (fresh["g_optimizer"].clipnorm, fresh["model"].optimizer.momentum) == (0.5, 0.9)
    assert other.now() == record, "it is still known that training has changed them"


def test_the_user_may_choose_the_value_of_the_code():
    moved, state = settings()
    state["g_optimizer"].clipnorm = 0.5
    other, fresh = settings()
    assert other.apply(moved.now(), code_counts=frozenset({"clipnorm"})) == []
    assert fresh["g_optimizer"].clipnorm is None


def test_a_replaced_optimizer_and_loss():
    moved, state = settings()
    state["model"].compile(
        keras.optimizers.SGD(0.1, nesterov=True), keras.losses.Huber(0.3), loss_weights=2.0
    )
    other, fresh = settings()
    assert other.apply(moved.now()) == []
    assert fresh["model"].optimizer.nesterov
    assert fresh["model"].loss([[0.0]], [[2.0]]) == state["model"].loss([[0.0]], [[2.0]])
    state["model"].compile("sgd", lambda y, p: y - p)
    (reason,) = other.apply(moved.now())
    assert "loss of model" in reason
    assert "only the program can make such an object" in reason
