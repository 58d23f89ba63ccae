"""Transfer learning in two phases: train a new head, then fine-tune the whole model."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

keras.utils.set_random_seed(1)

base = keras.Sequential(
    [
        keras.Input((16, 16, 3)),
        layers.Conv2D(8, 3, strides=2, activation="relu"),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
    ],
    name="base",
)
augmentation = [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1)]


def augment(image, label):
    for layer in augmentation:
        image = layer(image, training=True)
    return image, label


random = np.random.default_rng(2)
labels = random.integers(0, 2, 96)
images = (random.normal(size=(96, 16, 16, 3)) + labels[:, None, None, None]).astype("float32")
train = tf.data.Dataset.from_tensor_slices((images[:64], labels[:64]))
train = train.shuffle(64).map(augment).batch(8).prefetch(2).cache()
validation = tf.data.Dataset.from_tensor_slices((images[64:], labels[64:])).batch(16).cache()

base.trainable = False
inputs = keras.Input((16, 16, 3))
outputs = layers.Dense(1)(layers.Dropout(0.2)(base(inputs, training=False)))
model = keras.Model(inputs, outputs)


def fit(run, rate, epochs):
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["binary_accuracy"])
    callback = ckptkit.CheckpointCallback(run, export=False)
    model.fit(train, epochs=epochs, validation_data=validation, verbose=2, callbacks=[callback])


fit("runs/fine_tuning/head", 1e-2, epochs=2)
base.trainable = True
fit("runs/fine_tuning/all", 1e-4, epochs=2)
