"""Checks of `ckptkit/compat/keras_weights_file.py`: one function for each name."""

from __future__ import annotations

from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

from ckptkit.compat import keras_weights_file
from tests.compat.small_model import model, x, y


def _assignments(made: Any) -> keras_weights_file.KerasAssignments:
    """Return what the file would assign, in which each group of a layer has a group `vars`."""
    with h5py.File("made.weights.h5") as file:
        return keras_weights_file.keras_assignments(
            made,
            lambda path: file.get(f"{path}/vars", {}) if not path or path in file else None,
            lambda dataset: dataset[()],
            ("optimizer",),
        )


def KerasAssignments():
    """A layer computes LoRA's matrices, and refuses values of a different shape."""
    made = model()
    made.save_weights("made.weights.h5")
    made.layers[0].enable_lora(2)
    found, matrix = _assignments(made), made.layers[0].lora_kernel_b
    assert found.complete
    assert found.values[id(matrix)][0] == ""
    assert not np.any(found.values[id(matrix)][1])
    assert len(found.read) == 4
    assert not _assignments(model(layers.Dense(2), layers.Dense(1))).complete


def keras_assignments():
    made = model(layers.Dense(3), keras.Sequential([layers.Dense(2), layers.Dense(1)]))
    made.fit(x, y, verbose=0)
    made.save_weights("made.weights.h5")
    saved = made.get_weights()
    made.set_weights([value + 1 for value in saved])
    found = _assignments(made)
    assert found.values.keys() == {id(variable) for variable in made.weights}
    assert found.read == {place for place, _ in found.values.values()}
    with h5py.File("made.weights.h5") as file:
        for variable, value in zip(made.weights, saved, strict=True):
            place, given = found.values[id(variable)]
            assert np.array_equal(file[place], value)
            assert np.array_equal(given, value)
            assert np.array_equal(variable, value + 1), "nothing is assigned"
