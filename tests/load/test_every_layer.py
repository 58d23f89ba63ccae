"""Every layer of Keras that has state, through every format: equal outputs, or an error.

The layers are found in `keras.layers` itself, so that one of a later version is not forgotten. What
older versions of Keras wrote is tested in `test_golden_keras`.
"""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

import ckptkit
from tests.load.conftest import saved_in
from tests.load.golden_keras import zoo
from tests.support import adapted_models


def _spectrogram(layers):
    """A layer without a named window, which would need SciPy."""
    return layers.STFTSpectrogram(frame_length=2, frame_step=1, window=None)


MORE: zoo.Layers = {
    # What the versions of the golden files do not have all, or not in this form.
    "additive": ("pair", lambda k: k.AdditiveAttention()),
    "scaled": ("pair", lambda k: k.Attention(use_scale=True, score_mode="concat")),
    "grouped": ("attention", lambda k: k.GroupQueryAttention(2, 2, 1)),
    "conv1_transposed": ("sequence", lambda k: k.Conv1DTranspose(2, 2)),
    "depthwise1": ("sequence", lambda k: k.DepthwiseConv1D(2)),
    "separable1": ("sequence", lambda k: k.SeparableConv1D(2, 2)),
    "conv3": ("volume", lambda k: k.Conv3D(1, 2)),
    "conv3_transposed": ("volume", lambda k: k.Conv3DTranspose(1, 1)),
    "conv_lstm1": ("lines", lambda k: k.ConvLSTM1D(1, 2)),
    "conv_lstm2": ("volume", lambda k: k.ConvLSTM2D(1, 1)),
    "conv_lstm3": ("volumes", lambda k: k.ConvLSTM3D(1, 1)),
    "rms": ("sequence", lambda k: k.RMSNormalization()),
    "reversible": ("ids", lambda k: k.ReversibleEmbedding(5, 2, tie_weights=False)),
    "spectral": ("vector", lambda k: k.SpectralNormalization(k.Dense(3))),
    "spectrogram": ("sequence", lambda k: _spectrogram(k)),
    "cell": ("sequence", lambda k: k.RNN(k.SimpleRNNCell(2))),
}
NAMES = [*zoo.LAYERS, *MORE]

OF_OTHER_FRAMEWORKS = {"JaxLayer", "FlaxLayer", "TFSMLayer"}

NOT_FOLLOWED = {"stacked"}
"""Layers in a plain list, which TensorFlow's own checkpoints leave out."""

BUILT = {"run", "model.keras", "model.h5"}
"""What contains the architecture as well."""

ALL = BUILT | {"model.weights.h5", "exported", "keras export"}
"""What contains every weight."""

SHORT = ["run", "prefix"]
LONG = ["model.keras", "model.weights.h5", "model.h5", "root", "exported", "keras export"]
FORMS = [*SHORT, *(pytest.param(form, marks=pytest.mark.long) for form in LONG)]


def layers_with_state() -> set[type]:
    """The public layers of this Keras whose code makes weights, or learns, or takes a salt."""
    found = set()
    for name, kind in vars(keras.layers).items():
        if not isinstance(kind, type) or not issubclass(kind, keras.Layer):
            continue
        own = [base for base in kind.__mro__ if issubclass(base, keras.Layer)]
        code = "".join(inspect.getsource(base) for base in own if base is not keras.Layer)
        if name not in OF_OTHER_FRAMEWORKS and any(
            mark in code for mark in ("self.add_weight(", "def adapt(", "self.salt")
        ):
            found.add(kind)
    return found


def by_layer(model: keras.Model) -> dict[str, bytes]:
    """The bits that each layer gives for the inputs of the zoo."""
    parts = keras.Model(model.inputs, model.layers[-1].input)(zoo.inputs())
    return {name: np.asarray(part).tobytes() for name, part in zip(NAMES, parts, strict=True)}


def unequal(model: keras.Model, expected: dict[str, bytes]) -> set[str]:
    """The layers that do not give what they should."""
    return {name for name, bits in by_layer(model).items() if bits != expected[name]}


@pytest.fixture(scope="module")
def saved():
    """The model, made in the order of use, with automatic names, and its outputs."""
    model = zoo.zoo(keras, more=MORE)
    zoo.randomize(model, seed=1)
    return model, by_layer(model)


@pytest.fixture(scope="module")
def others():
    """The same network, made and named in other orders."""
    return {
        "reversed": zoo.zoo(keras, more=MORE, reverse=True),
        "named": zoo.zoo(keras, more=MORE, named=True),
        "reversed and named": zoo.zoo(keras, more=MORE, named=True, reverse=True),
    }


def test_no_layer_with_state_is_left_out(saved):
    tried = {type(layer) for layer in saved[0]._flatten_layers()}
    tried |= {type(make(True)) for _, _, make in adapted_models.KINDS.values()}
    found = layers_with_state()
    assert len(found) > 30
    assert found <= tried, found - tried
    print(f"{len(found)} layers with state, {len(NAMES)} in one model")


@pytest.mark.parametrize("form", FORMS)
def test_every_layer_has_its_values(form, saved, others, tmp_path):
    model, expected = saved
    source = saved_in(form, model, tmp_path)
    missing = set() if form in ALL else NOT_FOLLOWED
    for order, other in others.items():
        zoo.randomize(other, seed=2)
        assert unequal(other, expected) == set(NAMES), order
        if missing:
            with pytest.raises(ckptkit.IncompatibleStateError, match="stacked_rnn_cells"):
                ckptkit.load_weights(other, source)
            assert unequal(other, expected) == set(NAMES), order
        report = ckptkit.load_weights(other, source, strict=not missing)
        assert {each.kind for each in report.differences} <= {"extra"}
        assert all("stacked_rnn_cells" in each.name for each in report.differences)
        # The same operations on the same bits.
        assert unequal(other, expected) == missing, order
        print(f"{form}, {order}: {len(NAMES) - len(missing)} equal, {len(missing)} refused")


@pytest.mark.parametrize(
    "form",
    ["run", *(pytest.param(form, marks=pytest.mark.long) for form in sorted(BUILT - {"run"}))],
)
def test_a_model_built_from_the_source_has_them_as_well(form, saved, tmp_path):
    model, expected = saved
    assert not unequal(ckptkit.load_model(saved_in(form, model, tmp_path)), expected)


@pytest.mark.long
def test_a_resumed_run_has_them_or_refuses_the_model(saved, others, tmp_path):
    model, expected = saved
    source = saved_in("run", model, tmp_path)
    for order, other in {"same": zoo.zoo(keras, more=MORE), **others}.items():
        zoo.randomize(other, seed=2)
        try:
            with ckptkit.CheckpointManager(source, {"model": other}):
                pass
        except ckptkit.IncompatibleStateError:
            assert order != "same"
            assert unequal(other, expected) == set(NAMES), order
            print(f"resumed, {order}: refused")
        else:
            assert not unequal(other, expected), order
            print(f"resumed, {order}: equal")


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(adapted_models.KINDS))
def test_what_was_learnt_is_loaded_or_refused(kind, tmp_path):
    first, second = (adapted_models.build(kind, each) for each in (True, False))
    want, before = (adapted_models.outputs(each, kind) for each in (first, second))
    assert want != before
    refused = []
    for form in ["run", "prefix", "model.keras", "model.weights.h5", "model.h5"]:
        source = saved_in(form, first, tmp_path / form)
        model = adapted_models.build(kind, False, seed=2)
        adapted_models.outputs(model, kind)  # traced with what it has learnt itself
        try:
            ckptkit.load_weights(model, source)
        except ckptkit.IncompatibleStateError:
            refused.append(form)
        else:
            assert adapted_models.outputs(model, kind) == want, form
    # A run and a .keras file have everything.
    assert not {"run", "model.keras"} & set(refused)
    if kind == "normalization_adapted":
        assert not refused
    print(f"{kind}: {5 - len(refused)} equal, {len(refused)} refused")
