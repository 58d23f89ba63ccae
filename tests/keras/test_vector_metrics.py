"""Metrics with several values are saved, and cannot decide which checkpoint is the best."""

from __future__ import annotations

import numpy as np
import pytest

import ckptkit


def classifier(trainings):
    trainings.keras.utils.set_random_seed(3)
    made = trainings.keras.Sequential(
        [trainings.keras.Input((4,)), trainings.keras.layers.Dense(3, activation="softmax")]
    )
    made.compile("adam", "categorical_crossentropy", metrics=[trainings.keras.metrics.F1Score()])
    return made


def train(trainings, run, *callbacks, save=None):
    made = classifier(trainings)
    x, _ = trainings.rows()
    data = (
        trainings.tf.data.Dataset.from_tensor_slices(
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
            ckptkit.CheckpointCallback(
                run, save=ckptkit.EveryNSteps(1) if save is None else save, export=False
            ),
        ],
    )
    return made, {name: np.array(values).tolist() for name, values in history.history.items()}


def test_a_metric_with_a_value_for_each_class(trainings, run):
    whole, expected = train(trainings, run.with_name("whole"))
    assert np.array(expected["f1_score"]).shape == (2, 3)
    with pytest.raises(trainings.StopError):
        train(trainings, run, trainings.after(6))
    made, history = train(trainings, run)
    assert history == expected
    assert trainings.bits(made, made.optimizer, *made.metrics) == trainings.bits(
        whole, whole.optimizer, *whole.metrics
    )
    assert {"loss"} <= ckptkit.open_run(run).checkpoints[-1].metrics.keys() <= {"loss", "val_loss"}


def test_it_cannot_be_the_best(trainings, run):
    with trainings.logged() as lines:
        train(trainings, run, save=ckptkit.OnBest("val_f1_score") | ckptkit.EveryNSteps(1))
    assert sum("'val_f1_score' is not recorded with checkpoints" in line for line in lines) == 1
    assert ckptkit.open_run(run).checkpoints[-1].step == 8
