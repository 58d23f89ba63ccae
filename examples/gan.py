"""A generative adversarial network: two models, two optimizers, one `train_step`."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import ckptkit

keras.utils.set_random_seed(1)
LATENT = 8


class GAN(keras.Model):
    """Trains a discriminator and a generator in turn."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((LATENT,)), layers.Dense(16, "relu"), layers.Dense(2)]
        )
        self.discriminator = keras.Sequential(
            [keras.Input((2,)), layers.Dense(16, "relu"), layers.Dropout(0.2), layers.Dense(1)]
        )
        self.seed_generator = keras.random.SeedGenerator(2)
        self.d_loss = keras.metrics.Mean(name="d_loss")
        self.g_loss = keras.metrics.Mean(name="g_loss")

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def noise(self, rows):
        return keras.random.normal((rows, LATENT), seed=self.seed_generator)

    def train_step(self, real):
        rows = ops.shape(real)[0]
        labels = ops.concatenate([ops.ones((rows, 1)), ops.zeros((rows, 1))])
        with tf.GradientTape() as tape:
            both = ops.concatenate([real, self.generator(self.noise(rows))])
            d_loss = self.loss_fn(labels, self.discriminator(both, training=True))
        weights = self.discriminator.trainable_variables
        self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights))

        with tf.GradientTape() as tape:
            fake = self.discriminator(self.generator(self.noise(rows)), training=True)
            g_loss = self.loss_fn(ops.ones((rows, 1)), fake)
        weights = self.generator.trainable_variables
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights))
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {metric.name: metric.result() for metric in self.metrics}


angles = np.random.default_rng(3).uniform(0, 2 * np.pi, 128)
circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
gan = GAN()
gan.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
callback = ckptkit.CheckpointCallback("runs/gan", export=False)
gan.fit(circle, batch_size=16, epochs=2, verbose=2, callbacks=[callback])
