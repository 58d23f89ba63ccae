"""A variational autoencoder whose callback raises the weight of the KL loss (annealing)."""

import keras
import numpy as np
from keras import layers, ops

import ckptkit

keras.utils.set_random_seed(1)


class Sampling(layers.Layer):
    """Draws a point from the distribution that the encoder returns."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(2)

    def call(self, inputs):
        mean, log_var = inputs
        epsilon = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_var) * epsilon


class KLLoss(layers.Layer):
    """Adds the KL divergence to the loss, times a weight."""

    def __init__(self, weight):
        super().__init__()
        self.kl_weight = weight

    def call(self, inputs):
        mean, log_var = inputs
        kl = -0.5 * ops.mean(1 + log_var - ops.square(mean) - ops.exp(log_var))
        self.add_loss(self.kl_weight * kl)
        return mean


class Annealing(keras.callbacks.Callback):
    """Raises the weight after each batch, up to 1."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def on_train_batch_end(self, batch, logs=None):
        self.weight.assign(ops.minimum(1.0, self.weight + 0.02))


kl_weight = keras.Variable(0.0, trainable=False, name="kl_weight")
inputs = keras.Input((16,))
hidden = layers.Dense(12, "relu")(inputs)
mean, log_var = layers.Dense(2)(hidden), layers.Dense(2)(hidden)
mean = KLLoss(kl_weight)([mean, log_var])
decoded = layers.Dense(12, "relu")(Sampling()([mean, log_var]))
vae = keras.Model(inputs, layers.Dense(16)(decoded))
vae.compile("adam", "mse")

rows = np.random.default_rng(3).normal(size=(128, 16)).astype("float32")
callbacks = [Annealing(kl_weight), ckptkit.CheckpointCallback("runs/vae", export=False)]
vae.fit(rows, rows, batch_size=16, epochs=3, verbose=2, callbacks=callbacks)
