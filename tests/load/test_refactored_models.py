"""The same network whose code was refactored: the structure decides, not automatic names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import ckptkit
from tests.load.conftest import bits, saved_in

FORMS = ["run", "prefix of a run", "prefix", "model.keras", "model.weights.h5", "model.h5"]

X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")


def functional(*, refactored: bool) -> keras.Model:
    """Two layers of one form, made in the order of use or in the other one."""
    source = keras.Input((3,))
    if refactored:
        last = keras.layers.Dense(3)
        first = keras.layers.Dense(3, activation="tanh")
    else:
        first = keras.layers.Dense(3, activation="tanh")
        last = keras.layers.Dense(3)
    return keras.Model(source, last(first(source)))


@keras.saving.register_keras_serializable("tests.refactored")
class Block(keras.layers.Layer):
    """A layer of the user's own that makes its layers in one order or the other."""

    def __init__(self, refactored: bool = False, **options):
        super().__init__(**options)
        if refactored:
            self.last = keras.layers.Dense(3)
            self.first = keras.layers.Dense(3, activation="tanh")
        else:
            self.first = keras.layers.Dense(3, activation="tanh")
            self.last = keras.layers.Dense(3)

    def build(self, shape):
        self.first.build(shape)
        self.last.build(shape)
        super().build(shape)

    def call(self, x):
        return self.last(self.first(x))


@keras.saving.register_keras_serializable("tests.refactored")
class Subclassed(keras.Model):
    def __init__(self, refactored: bool = False, **options):
        super().__init__(**options)
        self.refactored = refactored
        if refactored:
            self.last = keras.layers.Dense(3)
            self.first = keras.layers.Dense(3, activation="tanh")
        else:
            self.first = keras.layers.Dense(3, activation="tanh")
            self.last = keras.layers.Dense(3)
        self(np.zeros((1, 3), "float32"))

    def call(self, x):
        return self.last(self.first(x))

    def get_config(self):
        return {**super().get_config(), "refactored": self.refactored}


def inside(*, refactored: bool) -> keras.Model:
    """A layer of the user's own in a functional model."""
    source = keras.Input((3,))
    return keras.Model(source, Block(refactored)(source))


def subclassed(*, refactored: bool) -> keras.Model:
    return Subclassed(refactored)


def outputs(model: keras.Model) -> np.ndarray:
    return np.asarray(model(X))


KINDS = [functional, inside, subclassed]


@pytest.mark.parametrize("form", FORMS)
def test_the_structure_decides(form, tmp_path):
    for kind in KINDS:
        if form == "model.h5" and kind is not functional:
            continue  # its order is that of the layers, and nothing else is in the file
        saved, model = kind(refactored=False), kind(refactored=True)
        source = saved_in(form, saved, tmp_path / kind.__name__)
        report = ckptkit.load_weights(model, source)
        assert np.array_equal(outputs(model), outputs(saved)), kind.__name__
        assert {each.by for each in report.matched} == {"structure"}, kind.__name__


def test_a_run_does_not_resume_with_layers_that_have_changed_places(tmp_path):
    source = saved_in("run", subclassed(refactored=False), tmp_path)
    model = subclassed(refactored=True)
    before = bits(model)
    with (
        pytest.raises(ckptkit.IncompatibleStateError, match=r"order.*first"),
        ckptkit.CheckpointManager(source, {"model": model}),
    ):
        pass
    assert bits(model) == before


def automatic(*units: int) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(each) for each in units)])


@pytest.mark.parametrize("form", FORMS)
def test_automatic_names_are_no_match(form, tmp_path):
    """A layer that is new in front of others would shift every name."""
    source = saved_in(form, automatic(3, 2), tmp_path)
    with pytest.raises(ckptkit.IncompatibleStateError):
        ckptkit.load_weights(automatic(3, 3, 2), source)


def with_lora(make: Callable[[], keras.Model]) -> keras.Model:
    model = make()
    for layer in model.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(1)
    return model


def adaptable() -> keras.Model:
    source = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(5, 3)(source)
    return keras.Model(source, keras.layers.Dense(3)(keras.layers.Dense(3)(x)))


@pytest.mark.parametrize("form", FORMS)
def test_lora_is_loaded_from_its_own_files(form, tmp_path):
    saved, model, expected = (with_lora(adaptable) for _ in range(3))
    for number, each in enumerate((saved, model)):
        rng = np.random.default_rng(number)
        each.set_weights([rng.normal(size=w.shape).astype("float32") for w in each.weights])
    source = saved_in(form, saved, tmp_path)
    report = ckptkit.load_weights(model, source)
    assert len(report.matched) == len(model.weights)
    x = np.arange(20).reshape(5, 4) % 5
    assert np.allclose(model(x), saved(x), atol=1e-5)
    if form in ("model.keras", "model.weights.h5"):
        # As Keras itself loads it: the file has the merged matrices.
        expected.load_weights(source)
        assert bits(model) == bits(expected)


def test_a_file_that_names_one_dataset_twice_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((3,)), automatic(3, 3), keras.layers.Dense(1)])
    source = saved_in("model.h5", model, tmp_path)
    _name_twice(source)
    before = bits(model)
    with pytest.raises(ckptkit.CorruptCheckpointError, match="twice"):
        ckptkit.load_weights(model, source)
    assert bits(model) == before


def _name_twice(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for group in file["model_weights"].values():
            names = list(group.attrs["weight_names"])
            if len(names) == 4:
                twice = [str(names[number]).encode() for number in (0, 1, 0, 3)]
                group.attrs["weight_names"] = np.array(twice)
                return
    raise AssertionError("no nested layer")
