"""Knowledge distillation: a student learns from what a larger, trained teacher answers."""

import keras
import numpy as np
from keras import layers, ops

import ckptkit

keras.utils.set_random_seed(1)
TEMPERATURE, ALPHA = 3.0, 0.3

random = np.random.default_rng(2)
rows = random.normal(size=(128, 8)).astype("float32")
labels = (rows.sum(axis=1) > 0).astype("int32") + (rows[:, 0] > 1)


def classifier(width):
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(width, "relu"), layers.Dropout(0.2), layers.Dense(3)]
    )


class Distiller(keras.Model):
    """Trains the student on the labels, and on what the teacher says about all classes."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher
        teacher.trainable = False

    def call(self, x, training=False):
        return self.student(x, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        hard = ops.sparse_categorical_crossentropy(y, y_pred, from_logits=True)
        taught = ops.softmax(self.teacher(x, training=False) / TEMPERATURE)
        soft = ops.categorical_crossentropy(taught, ops.softmax(y_pred / TEMPERATURE))
        return ops.mean(ALPHA * hard + (1 - ALPHA) * soft * TEMPERATURE**2)


def fit(model, run, epochs):
    callback = ckptkit.CheckpointCallback(run, export=False)
    model.fit(rows, labels, batch_size=16, epochs=epochs, verbose=2, callbacks=[callback])


teacher = classifier(32)
teacher.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
fit(teacher, "runs/distillation/teacher", epochs=2)
distiller = Distiller(classifier(8), teacher)
distiller.compile("adam", metrics=["sparse_categorical_accuracy"])
fit(distiller, "runs/distillation/student", epochs=3)
