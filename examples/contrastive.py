"""Contrastive learning with a momentum encoder and a queue of negatives (MoCo)."""

import keras
import numpy as np
from keras import layers, ops

import ckptkit

keras.utils.set_random_seed(1)
WIDTH, QUEUE, MOMENTUM, TEMPERATURE = 8, 64, 0.9, 0.1


def encoder():
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.GaussianNoise(0.3),
            layers.Dense(32, "relu"),
            layers.Dense(WIDTH),
            layers.UnitNormalization(),
        ]
    )


class MoCo(keras.Model):
    """Learns that two noisy views of a row belong together."""

    def __init__(self):
        super().__init__()
        self.query, self.key = encoder(), encoder()
        self.key.set_weights(self.query.get_weights())
        self.key.trainable = False
        self.queue = self.add_weight(
            shape=(QUEUE, WIDTH), initializer="random_normal", trainable=False, name="queue"
        )

    def call(self, rows):
        return self.query(rows)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        rows = ops.shape(x)[0]
        q, k = self.query(x, training=True), ops.stop_gradient(self.key(x, training=True))
        positive = ops.sum(q * k, axis=1, keepdims=True)
        negative = ops.matmul(q, ops.transpose(self.queue))
        logits = ops.concatenate([positive, negative], axis=1) / TEMPERATURE
        self.queue.assign(ops.concatenate([k, self.queue[:-rows]]))
        for old, new in zip(self.key.weights, self.query.weights, strict=True):
            if old.dtype == "float32":
                old.assign(MOMENTUM * old + (1 - MOMENTUM) * new)
        labels = ops.zeros((rows,), dtype="int32")
        return ops.mean(ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))


rows = np.random.default_rng(3).normal(size=(128, 16)).astype("float32")
model = MoCo()
model.compile(keras.optimizers.Adam(1e-3))
callback = ckptkit.CheckpointCallback("runs/contrastive", export=False)
model.fit(rows, rows, batch_size=16, epochs=2, verbose=2, callbacks=[callback])
