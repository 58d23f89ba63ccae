"""Variables that a loss or a layer uses by name, and that a callback moves: they are restored."""

from __future__ import annotations

import random

import pytest


class Annealed:
    """A program whose loss, or a layer, has a weight that a callback raises.

    Args:
        trainings: the module.
        kind: where the weight is used.
        eager: whether the step is traced.
    """

    def __init__(self, trainings, kind, *, eager=False):
        self.trainings, keras, tf = trainings, trainings.keras, trainings.tf
        self.beta = beta = (
            keras.Variable(0.0, name="beta") if kind == "keras" else tf.Variable(0.0, name="beta")
        )

        def scaled(value):
            return value * beta

        def loss(y, p):
            return keras.ops.mean((y - p) ** 2) + scaled(keras.ops.mean(keras.ops.abs(p)))

        class Layer(keras.layers.Layer):
            def call(self, x):
                return x + beta

        class Raise(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                beta.assign(beta + 0.03)

            def on_epoch_begin(self, epoch, logs=None):
                beta.assign(beta * 0.5)

        keras.utils.set_random_seed(3)
        layers = [keras.Input((4,)), keras.layers.Dense(1)]
        self.model = keras.Sequential([*layers, Layer()] if kind == "layer" else layers)
        self.model.compile("adam", "mse" if kind == "layer" else loss, run_eagerly=eager)
        self.callback = Raise()

    def fit(self, directory=None, *callbacks):
        self.trainings.start_again()
        if directory is not None:
            ckptkit = self.trainings.ckptkit
            save = ckptkit.EveryNSteps(1)
            callbacks += (
                ckptkit.CheckpointCallback(directory, save=save, export=False, background=False),
            )
        self.model.fit(
            self.trainings.data(), epochs=3, verbose=0, callbacks=[self.callback, *callbacks]
        )
        return [*self.trainings.bits(self.model, self.model.optimizer), float(self.beta)]


@pytest.mark.parametrize(("kind", "eager"), [("closure", False), ("keras", True), ("layer", False)])
def test_a_variable_that_training_uses_by_name(trainings, run, kind, eager):
    whole = Annealed(trainings, kind, eager=eager).fit()
    after = random.randint(2, 11)
    print("dies after batch", after)
    with pytest.raises(trainings.StopError):
        Annealed(trainings, kind, eager=eager).fit(run, trainings.after(after))
    manifest = trainings.ckptkit.open_run(run).find("latest").manifest
    assert "beta" in next(each.path for each in manifest.tensors if each.role == "captured")
    assert Annealed(trainings, kind, eager=eager).fit(run) == whole
    if kind != "layer":  # which only a traced step names
        finished = Annealed(trainings, kind, eager=eager)
        finished.fit(run)
        assert float(finished.beta) == whole[-1]
