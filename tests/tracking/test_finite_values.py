"""Weights that are not finite: found in a snapshot, marked, and never in the place of good ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.errors import ExportError
from ckptkit.exports.finite_weights import check_finite
from ckptkit.policies import Candidate, KeepLatest, decide, rank
from ckptkit.run.manifest import ManifestHead
from ckptkit.run.tensor_entry import TensorEntry


def entry(trainable):
    return TensorEntry(
        key="model/weights/0",
        kind="variable",
        path="dense/kernel",
        shape=None,
        dtype="float32",
        trainable=trainable,
    )


@pytest.mark.parametrize(
    ("values", "trained", "constant"),
    [
        ([0.0, 1.0], False, False),
        ([], False, False),
        ([0.0, np.nan], True, True),
        # A constant weight, such as a mask, may have infinity.
        ([0.0, -np.inf], True, False),
        ([1, 2], False, False),
        ([True], False, False),
        ([1j, complex(0, np.nan)], True, True),
        (["x"], False, False),
    ],
    ids=str,
)
def test_values_that_are_not_finite(values, trained, constant):
    from ckptkit.tracking.snapshot import is_bad

    for trainable, expected in ((True, trained), (False, constant)):
        assert is_bad(np.array(values), entry(trainable)) == expected


@pytest.mark.parametrize("at", [0, 1 << 20, (1 << 21) + 2])
def test_one_value_of_many(at):
    from ckptkit.tracking.snapshot import is_bad

    values = np.zeros((1, (1 << 21) + 3), "float16")
    assert not is_bad(values, entry(True))
    values[0, at] = np.nan
    assert is_bad(values, entry(True))


def candidates(*finite, loss=None):
    return [
        Candidate(name=str(step), step=step, metrics=loss or {}, finite=each)
        for step, each in enumerate(finite, 1)
    ]


def test_the_newest_with_finite_weights_stays():
    reasons = decide(KeepLatest(1), candidates(True, True, False, False))
    assert reasons == {"2": "newest with finite weights", "4": "latest 1 of 1"}
    # The metrics of an epoch may be finite when its last step spoils the weights.
    reasons = decide(KeepLatest(1), candidates(True, True, False, False, loss={"loss": 0.5}))
    assert reasons.keys() == {"2", "4"}
    assert decide(KeepLatest(1), candidates(False, False)).keys() == {"2"}
    assert decide(KeepLatest(1), candidates(True, True)).keys() == {"2"}


def test_they_are_never_the_best():
    found = rank(candidates(False, True, loss={"loss": 0.5}), "loss", "min")
    assert [each.name for each in found] == ["2"]


def test_they_are_not_published_unless_asked():
    head = ManifestHead(
        step=3, epoch=1, batch=0, attempt=1, saved_at=0, trigger="", not_finite=("dense/kernel",)
    )
    with pytest.raises(ExportError, match=r"dense/kernel at step 3 .* name the step: --step 3\."):
        check_finite(head, "--step 3")


class Weights(tf.Module):
    def __init__(self):
        self.inner = {"w": tf.Variable([1.0, 2.0])}


class Stats(keras.layers.Layer):
    """A layer with a variable of TensorFlow's own, which is in none of Keras' lists."""

    def __init__(self):
        super().__init__()
        self.running = tf.Variable([1.0, 2.0], trainable=False)

    def call(self, x):
        return x


def states():
    """States outside of Keras' models, each with the variable in it that will be spoilt."""
    for dtype in ("float32", "bfloat16", "float16", "float64", "complex64"):
        variable = tf.Variable(tf.cast([1.0, 2.0], dtype))
        yield dtype, variable, variable
    alone = keras.Variable([1.0, 2.0])
    yield "keras.Variable", alone, alone
    number = tf.Variable(1.0)
    yield "number", number, number
    module = Weights()
    yield "tf.Module", module, module.inner["w"]
    among = {"a": [tf.Variable([1.0, 2.0])]}
    yield "dict", among, among["a"][0]
    layer = Stats()
    layer(np.zeros((1, 2), "float32"))
    yield "layer", layer, layer.running


@pytest.mark.parametrize("case", list(states()), ids=lambda case: case[0])
def test_nan_in_any_variable_is_noticed(case, tmp_path):
    _, state, variable = case
    with ckptkit.CheckpointManager(
        tmp_path / "run", {"state": state}, keep=ckptkit.KeepLatest(1)
    ) as manager:
        manager.save(1)
        variable.assign(variable * float("nan"))
        manager.save(2)
        manager.save(3)
    found = ckptkit.open_run(tmp_path / "run").checkpoints
    assert [(each.step, bool(each.head.not_finite)) for each in found] == [(1, False), (3, True)]


def test_infinity_counts_in_arrays_but_not_as_a_start_value(tmp_path):
    for name, value, bad in (
        ("number", tf.Variable(np.inf), False),
        ("mask", tf.Variable([0.0, -np.inf], trainable=False), False),
        ("array", tf.Variable([0.0, np.inf]), True),
    ):
        with ckptkit.CheckpointManager(tmp_path / name, {"value": value}) as manager:
            manager.save(1)
        (found,) = ckptkit.open_run(tmp_path / name).checkpoints
        assert bool(found.head.not_finite) == bad, name
