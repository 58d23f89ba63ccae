"""A stateful recurrent network on one long sequence, cut into windows that follow each other."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

keras.utils.set_random_seed(1)
ROWS, WINDOW, WINDOWS = 4, 10, 12

time = np.arange(ROWS * WINDOWS * WINDOW + 1, dtype="float32")
wave = np.sin(time / 7) + 0.1 * np.random.default_rng(2).normal(size=time.shape)
# Row r of batch b continues row r of batch b - 1.
inputs = wave[:-1].reshape(ROWS, WINDOWS, WINDOW, 1).swapaxes(0, 1).astype("float32")
targets = wave[1:].reshape(ROWS, WINDOWS, WINDOW, 1).swapaxes(0, 1).astype("float32")
data = tf.data.Dataset.from_tensor_slices((inputs, targets))

model = keras.Sequential(
    [
        keras.Input(batch_shape=(ROWS, WINDOW, 1)),
        layers.LSTM(12, stateful=True, return_sequences=True, dropout=0.1),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "mse")


class ResetStates(keras.callbacks.Callback):
    """Forgets the end of the sequence before it begins again."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.layers[0].reset_states()


callbacks = [ResetStates(), ckptkit.CheckpointCallback("runs/stateful_rnn", export=False)]
model.fit(data, epochs=3, shuffle=False, verbose=2, callbacks=callbacks)
