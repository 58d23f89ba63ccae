"""What preprocessing layers have learnt is part of the state, in loops, in `fit`, and in a model
that is built from a run.
"""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from tests.support import adapted_models

KINDS = sorted(adapted_models.KINDS)


def save(model: keras.Model, run: Path) -> None:
    with ckptkit.CheckpointManager(run, {"model": model}, background=False) as manager:
        manager.save(1)


def restore(model: keras.Model, run: Path) -> None:
    with ckptkit.CheckpointManager(run, {"model": model}, background=False):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_loops_and_built_models_have_what_a_layer_had_learnt(kind, tmp_path):
    # Equal weights: the outputs differ by what the layers have learnt.
    first, second = (adapted_models.build(kind, a) for a in (True, False))
    want = adapted_models.outputs(first, kind)
    # `predict` has traced the second model with what it had learnt itself.
    assert adapted_models.outputs(second, kind) != want
    save(first, tmp_path)
    restore(second, tmp_path)
    assert adapted_models.outputs(second, kind) == want
    assert adapted_models.outputs(ckptkit.load_model(tmp_path), kind) == want


class Stop(Exception):
    """Ends a `fit` as a crash would."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise Stop

    def get_state(self):
        return None

    def set_state(self, state):
        pass


def fit(model: keras.Model, kind: str, run: Path, *callbacks: keras.callbacks.Callback) -> None:
    targets = np.linspace(-1, 1, 6).astype("float32")[:, None]
    data = tf.data.Dataset.from_tensor_slices((adapted_models.inputs(kind), targets)).batch(2)
    ours = ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(1), background=False, export=False
    )
    model.fit(data, epochs=3, verbose=0, callbacks=[ours, *callbacks])


@pytest.mark.parametrize("kind", ["text_tf_idf", "bins_adapted", "normalization_adapted"])
def test_a_fit_resumes_with_what_a_layer_had_learnt(kind, tmp_path):
    whole, first = (adapted_models.build(kind, True, seed=1) for _ in range(2))
    fit(whole, kind, tmp_path / "whole")
    with pytest.raises(Stop):
        fit(first, kind, tmp_path / "run", StopAt(4))
    second = adapted_models.build(kind, False, seed=2)
    # A step that was traced before, with what the second program has learnt itself.
    second.train_on_batch(adapted_models.inputs(kind), np.zeros((6, 1), "float32"))
    second.optimizer.iterations.assign(0)
    fit(second, kind, tmp_path / "run")
    assert adapted_models.outputs(second, kind) == adapted_models.outputs(whole, kind)


def test_a_layer_that_was_not_adapted_gets_the_vocabulary(tmp_path, caplog):
    adapted, empty = keras.layers.TextVectorization(), keras.layers.TextVectorization()
    adapted.adapt(["one two two", "zwei é"])
    layers = {"layer": adapted}
    with ckptkit.CheckpointManager(tmp_path, layers, background=False) as manager:
        manager.save(1)
    caplog.set_level(logging.INFO)
    with ckptkit.CheckpointManager(tmp_path, {"layer": empty}, background=False):
        pass
    assert empty.get_vocabulary() == adapted.get_vocabulary()
    (said,) = [record for record in caplog.records if "as it was when" in record.message]
    assert said.levelno == logging.INFO, said.message


def test_another_vocabulary_in_the_program_is_said(tmp_path, caplog):
    save(adapted_models.build("string_adapted", True), tmp_path)
    restore(adapted_models.build("string_adapted", False), tmp_path)
    (said,) = [record for record in caplog.records if "as it was when" in record.message]
    assert said.levelno == logging.WARNING
    assert "vocabulary of 3" in said.message


def test_plain_tensorflow_reads_the_vocabulary(tmp_path):
    save(adapted_models.build("string_adapted", True), tmp_path)
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "ckpt-1-1" / "ckpt-1"))
    key = "model/adapted/0/vocabulary/.ATTRIBUTES/VARIABLE_VALUE"
    assert reader.get_tensor(key).tolist() == [b"blue", b"green", b"red"]


def test_words_that_are_not_utf_8(tmp_path):
    words = [b"\xff\xfe", b"", b"a\nb", "ü".encode("latin1")]
    first, second = keras.layers.StringLookup(), keras.layers.StringLookup()
    first.adapt(tf.constant(words))
    with ckptkit.CheckpointManager(tmp_path, {"layer": first}, background=False) as manager:
        manager.save(1)
    with ckptkit.CheckpointManager(tmp_path, {"layer": second}, background=False):
        pass
    assert second(tf.constant(words)).numpy().tolist() == first(tf.constant(words)).numpy().tolist()


def test_what_was_learnt_is_taken_back_if_the_rest_does_not_fit(tmp_path):
    save(adapted_models.build("string_adapted", True), tmp_path)
    other = adapted_models.build("string_adapted", False)
    wider = keras.Sequential([other, keras.layers.Dense(2)])
    wider.build((None, 1))
    before = adapted_models.outputs(other, "string_adapted")
    with pytest.raises(ckptkit.IncompatibleStateError):
        restore(wider, tmp_path)
    assert adapted_models.outputs(other, "string_adapted") == before


def test_two_layers_that_have_changed_places_are_refused(tmp_path):
    def pair(*names: str) -> keras.Model:
        sources = [keras.Input((1,), dtype="string") for _ in names]
        found = [
            keras.layers.Embedding(4, 2)(
                keras.layers.StringLookup(vocabulary=[name, "x"], name=name)(source)
            )
            for name, source in zip(names, sources, strict=True)
        ]
        return keras.Model(sources, keras.layers.Concatenate()(found))

    save(pair("colour", "size"), tmp_path)
    with pytest.raises(ckptkit.IncompatibleStateError, match="order"):
        restore(pair("size", "colour"), tmp_path)


def test_a_run_of_an_earlier_version_names_what_it_does_not_hold(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as older:
        older.setattr("ckptkit.tracking.tracker.adapted_leaves", lambda *_: [])
        save(adapted_models.build("string_adapted", True), tmp_path)
    restore(adapted_models.build("string_adapted", False), tmp_path)
    assert "without the learned state of preprocessing layers" in caplog.text
    with (
        pytest.raises(ckptkit.ConfigError, match="string_lookup"),
        ckptkit.CheckpointManager(
            tmp_path,
            {"model": adapted_models.build("string_adapted", False)},
            exact="require",
        ),
    ):
        pass
