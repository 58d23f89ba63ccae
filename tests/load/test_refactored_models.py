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

ONLY_AN_ORDER = ["model.h5", "exported", "keras export"]
"""Forms that store the weights of a class of the user's own in an order, and nothing else."""

FORMS = [
    "run",
    "prefix of a run",
    "prefix",
    "model.keras",
    "model.weights.h5",
    "tf.saved_model.save",
    *ONLY_AN_ORDER,
]

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
        if form in ONLY_AN_ORDER and kind is not functional:
            continue  # see test_an_order_alone_is_no_match
        saved, model = kind(refactored=False), kind(refactored=True)
        source = saved_in(form, saved, tmp_path / kind.__name__)
        report = ckptkit.load_weights(model, source)
        assert np.array_equal(outputs(model), outputs(saved)), kind.__name__
        assert {each.by for each in report.matched} == {"structure"}, kind.__name__


@pytest.mark.parametrize("form", ONLY_AN_ORDER)
def test_an_order_alone_is_no_match(form, tmp_path):
    for kind in (inside, subclassed):
        saved, model = kind(refactored=False), kind(refactored=True)
        source = saved_in(form, saved, tmp_path / kind.__name__)
        before = bits(model)
        with pytest.raises(ckptkit.IncompatibleStateError, match=r"order(?s:.*)weights\.h5"):
            ckptkit.load_weights(model, source)
        assert bits(model) == before, kind.__name__


class Headed(keras.Model):
    """Two layers of one form and a head, with names of the user's own or without."""

    def __init__(self, order: str, names: bool = False) -> None:
        super().__init__()
        for each in order.split():
            setattr(self, each, keras.layers.Dense(3, name=each if names else None))
        self.head = keras.layers.Dense(2)
        self(np.zeros((1, 3), "float32"))

    def get_config(self):
        return {}

    def call(self, x):
        return self.head(self.last(keras.activations.tanh(self.first(x))))


@pytest.mark.parametrize("form", ONLY_AN_ORDER)
def test_what_the_order_identifies_is_loaded_without_strict(form, tmp_path):
    saved, model = Headed("first last"), Headed("last first")
    source = saved_in(form, saved, tmp_path)
    before = model.first.kernel.numpy().tobytes()
    report = ckptkit.load_weights(model, source, strict=False)
    assert [each.kind for each in report.differences] == ["order"] * 4
    assert "order" in str(report)
    assert np.array_equal(model.head.kernel, saved.head.kernel)
    assert model.first.kernel.numpy().tobytes() == before


def test_names_of_layers_settle_an_order(tmp_path):
    saved, model = Headed("first last", names=True), Headed("last first", names=True)
    source = saved_in("model.h5", saved, tmp_path)
    ckptkit.load_weights(model, source)
    assert np.array_equal(outputs(model), outputs(saved))


@keras.saving.register_keras_serializable("tests.refactored")
class Scales(keras.layers.Layer):
    """Weights of the layer's own, with names, made in one order or the other."""

    def __init__(self, order: str = "", **options):
        super().__init__(**options)
        for each in order.split():
            self.__dict__[each] = self.add_weight(shape=(3,), name=each, initializer="normal")

    def call(self, x):
        return (x + self.__dict__["a"]) * self.__dict__["b"]


@pytest.mark.parametrize("form", ONLY_AN_ORDER)
def test_weights_of_a_layers_own_are_known_by_their_names(form, tmp_path):
    saved, same, model = (
        keras.Sequential([keras.Input((3,)), Scales(order)]) for order in ("a b", "a b", "b a")
    )
    source = saved_in(form, saved, tmp_path)
    ckptkit.load_weights(same, source)
    assert np.array_equal(outputs(same), outputs(saved))
    with pytest.raises(ckptkit.IncompatibleStateError, match="order"):
        ckptkit.load_weights(model, source)


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
