"""A curriculum: a callback tells the data after each epoch how hard it may be."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

keras.utils.set_random_seed(1)

random = np.random.default_rng(2)
rows = random.normal(size=(128, 8)).astype("float32")
answers = rows.sum(axis=1, keepdims=True)
difficulty = tf.Variable(0.5, trainable=False, name="difficulty")
noise = tf.random.Generator.from_seed(3)


def disturb(row, answer):
    return row + difficulty * noise.normal(tf.shape(row)), answer


data = tf.data.Dataset.from_tensor_slices((rows, answers)).shuffle(128).map(disturb).batch(16)


class Harder(keras.callbacks.Callback):
    """Raises the difficulty from one epoch to the next."""

    def on_epoch_end(self, epoch, logs=None):
        difficulty.assign_add(0.25)


model = keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(1e-2), "mse")
callbacks = [Harder(), ckptkit.CheckpointCallback("runs/curriculum", export=False)]
model.fit(data, epochs=4, verbose=2, callbacks=callbacks)
