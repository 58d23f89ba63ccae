"""Random operations in a train step or in data: those that cannot be resumed are reported."""

from __future__ import annotations

import pytest

import ckptkit
from tests.keras.conftest import journal_events


def eager(trainings, noisy, seed=None):
    class Noise(trainings.keras.layers.Layer):
        def call(self, x):
            return x + trainings.tf.random.normal(trainings.tf.shape(x), seed=seed)

    trainings.keras.utils.set_random_seed(3)
    made = trainings.keras.Sequential(
        [
            trainings.keras.Input((4,)),
            *([Noise()] if noisy else []),
            trainings.keras.layers.Dropout(0.5),
            trainings.keras.layers.Dense(1),
        ]
    )
    made.compile("adam", "mse", run_eagerly=True)
    return made


def test_an_eager_model_of_keras_layers_is_exact(trainings, run):
    whole, resumed = eager(trainings, False), eager(trainings, False)
    whole.fit(trainings.data(), epochs=2, verbose=0, shuffle=False)
    trainings.interrupted(run, eager(trainings, False), batches=6, exact="require")
    trainings.fit(run, resumed, exact="require")
    assert trainings.bits(resumed) == trainings.bits(whole)


def test_an_eager_model_that_draws_without_a_seed_of_its_own(trainings, run):
    """TensorFlow takes a seed for each draw from a state that is saved."""
    whole, resumed = eager(trainings, True), eager(trainings, True)
    trainings.fit(run.with_name("whole"), whole, exact="require")
    trainings.interrupted(run, eager(trainings, True), batches=6, exact="require")
    trainings.fit(run, resumed, exact="require")
    assert trainings.bits(resumed) == trainings.bits(whole)


def test_an_eager_model_that_draws_inside_of_tensorflow(trainings, run):
    trainings.interrupted(run, eager(trainings, True, seed=5), batches=6)
    (event,) = journal_events(run, "inexact")
    assert "draws from RandomStandardNormal" in event.reason
    for directory in (run, run.with_name("new")):
        with pytest.raises(ckptkit.ConfigError, match="draws from RandomStandardNormal"):
            trainings.fit(directory, eager(trainings, True, seed=5), exact="require")


def test_a_traced_model_is_examined_in_a_later_attempt_as_well(trainings, run):
    def made():
        noisy = eager(trainings, True)
        noisy.compile("adam", "mse")
        return noisy

    trainings.interrupted(run, made(), batches=6)
    with pytest.raises(ckptkit.ConfigError, match="draws from RandomStandardNormal"):
        trainings.fit(run, made(), exact="require")


UNSEEDED = """
import keras, tensorflow as tf, ckptkit, sys
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
if sys.argv[2] == "seeded":
    tf.random.set_seed(1)
noisy = tf.data.Dataset.range(8).map(
    lambda i: (tf.random.normal((4,)), tf.cast(i, tf.float32))
).batch(2)
callback = ckptkit.CheckpointCallback(sys.argv[1], exact="require", export=False)
model.fit(noisy, verbose=0, callbacks=[callback])
"""


@pytest.mark.parametrize("seeded", ["seeded", "unseeded"])
def test_data_that_draws_without_a_seed(tf_process, run, seeded):
    process = tf_process(UNSEEDED, str(run), seeded)
    assert process.wait() == (0 if seeded == "seeded" else 1)
    assert ("the data uses RandomStandardNormal without a seed" in process.stderr) == (
        seeded == "unseeded"
    )
