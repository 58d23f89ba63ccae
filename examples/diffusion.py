"""A diffusion model with averaged weights (EMA), in a training loop of its own."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

keras.utils.set_random_seed(1)
STEPS, DECAY = 48, 0.95


def network():
    noisy, level = keras.Input((2,)), keras.Input((1,))
    hidden = layers.Dense(32, "swish")(layers.Concatenate()([noisy, level]))
    return keras.Model([noisy, level], layers.Dense(2)(hidden))


model, averaged = network(), network()
averaged.set_weights(model.get_weights())
optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-2, STEPS))
optimizer.build(model.trainable_variables)
random = tf.random.Generator.from_seed(2)


@tf.function
def train_step(rows):
    level = random.uniform((tf.shape(rows)[0], 1))
    noise = random.normal(tf.shape(rows))
    noisy = tf.cos(level * np.pi / 2) * rows + tf.sin(level * np.pi / 2) * noise
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model([noisy, level]) - noise) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    for old, new in zip(averaged.variables, model.variables):
        old.assign(DECAY * old + (1 - DECAY) * new)
    return loss


angles = np.random.default_rng(3).uniform(0, 2 * np.pi, 128)
circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
data = tf.data.Dataset.from_tensor_slices(circle).shuffle(128, seed=4).repeat().batch(16)
batches = iter(data)

state = {
    "model": model,
    "averaged": averaged,
    "optimizer": optimizer,
    "random": random,
    "batches": batches,
}
with ckptkit.CheckpointManager("runs/diffusion", state) as manager:
    for step in manager.steps(STEPS):
        loss = train_step(next(batches))
        if step % 16 == 0:
            print(f"step {step}: loss {float(loss):.4f}")
