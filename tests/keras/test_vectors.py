"""Metrics with several values: they are part of the state, and no number that a policy could
compare.
"""

from __future__ import annotations

import numpy as np
import pytest

import ckptkit


def classifier(lab):
    lab.keras.utils.set_random_seed(3)
    made = lab.keras.Sequential(
        [lab.keras.Input((4,)), lab.keras.layers.Dense(3, activation="softmax")]
    )
    made.compile("adam", "categorical_crossentropy", metrics=[lab.keras.metrics.F1Score()])
    return made


def train(lab, run, *callbacks, save=None):
    made = classifier(lab)
    x, _ = lab.rows()
    data = (
        lab.tf.data.Dataset.from_tensor_slices(
            (x, np.eye(3, dtype="float32")[np.abs(x).argmax(axis=1) % 3])
        )
        .shuffle(32, seed=4)
        .batch(8)
    )
    history = made.fit(
        data,
        validation_data=data.take(2),
        epochs=2,
        verbose=0,
        callbacks=[
            *callbacks,
            ckptkit.CheckpointCallback(run, save=save or ckptkit.EveryNSteps(1), export=False),
        ],
    )
    return made, {name: np.array(values).tolist() for name, values in history.history.items()}


def test_a_metric_with_a_value_for_each_class(lab, run):
    whole, expected = train(lab, run.with_name("whole"))
    assert np.array(expected["f1_score"]).shape == (2, 3)
    with pytest.raises(lab.StopError):
        train(lab, run, lab.after(6))
    made, history = train(lab, run)
    assert history == expected
    assert lab.bits(made, made.optimizer, *made.metrics) == lab.bits(
        whole, whole.optimizer, *whole.metrics
    )
    assert {"loss"} <= ckptkit.open_run(run).checkpoints[-1].metrics.keys() <= {"loss", "val_loss"}


def test_it_cannot_be_the_best(lab, run):
    with pytest.raises(ckptkit.ConfigError, match="'val_f1_score' is not one number"):
        train(lab, run, save=ckptkit.OnBest("val_f1_score"))
