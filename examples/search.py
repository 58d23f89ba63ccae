"""A search over hyperparameters that copies the callbacks for each trial, as tuners do."""

import copy
import random

import keras
import numpy as np
from keras import layers

import ckptkit

keras.utils.set_random_seed(1)
rows = np.random.default_rng(2).normal(size=(96, 8)).astype("float32")
answers = rows.sum(axis=1, keepdims=True)


def build(width, rate, dropout):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(width, "relu"),
            layers.Dropout(dropout),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def train(trial, values, callbacks):
    """Trains one model; each trial has copies of the callbacks, and a run of its own."""
    model = build(**values)
    callbacks = copy.deepcopy(callbacks)
    callbacks.append(ckptkit.CheckpointCallback(f"runs/search/{trial}", export=False))
    model.fit(
        rows,
        answers,
        batch_size=16,
        epochs=3,
        validation_split=0.25,
        verbose=0,
        callbacks=callbacks,
    )
    return float(model.evaluate(rows, answers, verbose=0))


choices = random.Random(3)
callbacks = [keras.callbacks.EarlyStopping("val_loss", patience=1)]
best = None
for trial in range(3):
    values = {
        "width": choices.choice([8, 16, 32]),
        "rate": choices.choice([1e-2, 1e-3]),
        "dropout": choices.uniform(0.0, 0.3),
    }
    loss = train(trial, values, callbacks)
    print(f"trial {trial}: {values}, loss {loss:.4f}")
    best = min(best or (loss, trial), (loss, trial))
print(f"the best is trial {best[1]}")
