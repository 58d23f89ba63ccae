"""A resume in a late epoch makes as few rows as one in an early epoch, and trains the same bits."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from tests.support.spread import spread

ROWS, BATCH = 64, 4


class Rows:
    """Rows that count how often they are made."""

    def __init__(self):
        self.made = 0

    def dataset(self):
        def make(number):
            self.made += 1
            return np.float32(number)

        # TensorFlow would refuse to save the state of this function.
        options = tf.data.Options()
        options.autotune.enabled = False  # its thread may delay the end of an epoch
        options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
        return (
            tf.data.Dataset.range(ROWS)
            .map(lambda number: tf.ensure_shape(tf.numpy_function(make, [number], tf.float32), []))
            .with_options(options)
        )


def batched(rows):
    return rows.map(lambda x: (tf.reshape(x, [1]), tf.reshape(x, [1]))).batch(BATCH).prefetch(1)


PIPELINES = {
    "shuffle": lambda rows: batched(rows.shuffle(16, seed=1)),
    "two shuffles": lambda rows: batched(rows.shuffle(16, seed=1).shuffle(8, seed=2)),
    "cache": lambda rows: batched(rows.cache().shuffle(16, seed=1)),
    "take": lambda rows: batched(rows.shuffle(16, seed=1)).take(9),
    "repeat": lambda rows: batched(rows.shuffle(16, seed=1).repeat(2)),
}


class Stop(Exception):
    """Ends training as a crash does."""


class Batches(keras.callbacks.Callback):
    """Notes the loss of each batch, and ends training after a batch of an epoch."""

    def __init__(self, epoch=None, batch=None):
        super().__init__()
        self.end, self.losses, self.epoch = (epoch, batch), [], None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])
        if (self.epoch, batch) == self.end:
            raise Stop


def fit(pipeline, rows, epochs, *callbacks):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    made = PIPELINES[pipeline](rows.dataset())
    model.fit(made, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def checkpoints(run):
    return ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(1), export=False, anchors=ckptkit.NoAnchors()
    )


@pytest.mark.parametrize("pipeline", spread(list(PIPELINES), 2))
def test_a_resume_in_a_late_epoch_makes_no_rows_of_past_epochs(pipeline, tmp_path):
    late, batch = random.randrange(4, 8), random.randrange(2, 6)
    print("late epoch", late, "batch", batch)
    plain = Batches()
    expected = fit(pipeline, Rows(), late + 1, plain)
    made = {}
    for epoch in (1, late):
        run, resumed, rows = tmp_path / str(epoch), Batches(), Rows()
        with pytest.raises(Stop):
            fit(pipeline, Rows(), late + 1, Batches(epoch, batch), checkpoints(run))
        first = Batches(epoch, batch + 1)
        with pytest.raises(Stop):
            fit(pipeline, rows, late + 1, first, checkpoints(run))
        made[epoch] = rows.made
        model = fit(pipeline, Rows(), late + 1, resumed, checkpoints(run))
        assert resumed.losses == plain.losses[-len(resumed.losses) :]
        for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
            assert one.tobytes() == other.tobytes()
    # TensorFlow reads ahead, by other numbers of rows each time.
    assert made[late] <= made[1] + 16, made


def test_a_resume_makes_whole_iterators_for_no_past_evaluation_but_the_first(tmp_path, monkeypatch):
    """Each takes several milliseconds, and a run of a thousand epochs has a thousand of them."""
    late, batch = random.randrange(4, 8), random.randrange(2, 6)
    print("late epoch", late, "batch", batch)
    rows = np.arange(24, dtype="float32")[:, None]

    def fit(*callbacks):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(1e-5), "mse")
        known = tf.data.Dataset.from_tensor_slices((rows, rows))
        history = model.fit(
            known.shuffle(20, seed=1).batch(BATCH),
            # Shorter than its shuffles, so that each evaluation is of other rows.
            validation_data=known.shuffle(20, seed=2).shuffle(9, seed=3).take(8).batch(BATCH),
            epochs=late + 2,
            verbose=0,
            callbacks=list(callbacks),
        )
        return history.history["val_loss"]

    plain = fit()
    assert len(set(plain)) > 2
    with pytest.raises(Stop):
        fit(Batches(late, batch), checkpoints(tmp_path))
    made = []
    real = type(tf.data.Dataset.range(3).batch(2)).__iter__

    def counting(dataset):
        if dataset.cardinality() == 2:
            made.append(dataset)
        return real(dataset)

    for kind in (tf.data.Dataset, type(tf.data.Dataset.range(3)).__mro__[-3]):
        if "__iter__" in vars(kind):
            monkeypatch.setattr(kind, "__iter__", counting)
    assert fit(checkpoints(tmp_path))[-2:] == plain[-2:]
    print("whole iterators over the data of evaluations:", len(made))
    # Two for the first evaluation and for each new one: Keras makes one more at its end.
    assert 2 <= len(made) <= 2 * 3
