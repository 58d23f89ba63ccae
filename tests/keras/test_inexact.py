"""What cannot be exact is said, however the model is executed; and what can be is not suspected."""

from __future__ import annotations

import pytest

import ckptkit
from tests.keras.conftest import told


def eager(lab, noisy):
    class Noise(lab.keras.layers.Layer):
        def call(self, x):
            return x + lab.tf.random.normal(lab.tf.shape(x))

    lab.keras.utils.set_random_seed(3)
    made = lab.keras.Sequential(
        [
            lab.keras.Input((4,)),
            *([Noise()] if noisy else []),
            lab.keras.layers.Dropout(0.5),
            lab.keras.layers.Dense(1),
        ]
    )
    made.compile("adam", "mse", run_eagerly=True)
    return made


def test_an_eager_model_of_keras_layers_is_exact(lab, run):
    whole, resumed = eager(lab, False), eager(lab, False)
    whole.fit(lab.data(), epochs=2, verbose=0, shuffle=False)
    lab.interrupted(run, eager(lab, False), batches=6, exact="require")
    lab.fit(run, resumed, exact="require")
    assert lab.bits(resumed) == lab.bits(whole)


def test_an_eager_model_that_draws_inside_of_tensorflow(lab, run):
    lab.interrupted(run, eager(lab, True), batches=6)
    (event,) = told(run, "inexact")
    assert "draws from RandomStandardNormal" in event.reason
    for directory in (run, run.with_name("new")):
        with pytest.raises(ckptkit.ConfigError, match="draws from RandomStandardNormal"):
            lab.fit(directory, eager(lab, True), exact="require")


def test_a_traced_model_is_examined_in_a_later_attempt_as_well(lab, run):
    def made():
        noisy = eager(lab, True)
        noisy.compile("adam", "mse")
        return noisy

    lab.interrupted(run, made(), batches=6)
    with pytest.raises(ckptkit.ConfigError, match="draws from RandomStandardNormal"):
        lab.fit(run, made(), exact="require")


UNSEEDED = """
import keras, tensorflow as tf, ckptkit, sys
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
if sys.argv[2] == "seeded":
    tf.random.set_seed(1)
noisy = tf.data.Dataset.range(8).map(lambda i: (tf.random.normal((4,)), tf.cast(i, tf.float32))).batch(2)
model.fit(noisy, verbose=0, callbacks=[ckptkit.CheckpointCallback(sys.argv[1], exact="require", export=False)])
"""


@pytest.mark.parametrize("seeded", ["seeded", "unseeded"])
def test_data_that_draws_without_a_seed(tf_process, run, seeded):
    process = tf_process(UNSEEDED, str(run), seeded)
    assert process.wait() == (0 if seeded == "seeded" else 1)
    assert ("the data draws from RandomStandardNormal without a seed" in process.stderr) == (
        seeded == "unseeded"
    )
