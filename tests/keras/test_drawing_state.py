"""Seeds of layers in a `map`, and counters of shuffles, of data that two calls of `fit` share.

They are in no state of Keras, TensorFlow saves them with no iterator, and a finished first `fit`
that is skipped does not move them.
"""

from __future__ import annotations

import random

import pytest

KINDS = {
    "shuffled": {"augment": False},
    "augmented": {},
    "cached": {"cached": True},
    "cached by the second": {"only_second_cached": True},
}


class Program:
    """A program that calls `fit` twice over the same data, as the transfer-learning guide does."""

    def __init__(
        self, trainings, *, augment=True, cached=False, only_second_cached=False, epochs=2
    ):
        self.trainings, keras, tf = trainings, trainings.keras, trainings.tf
        keras.utils.set_random_seed(5)
        layers = [keras.layers.GaussianNoise(0.5), keras.layers.Dropout(0.3)] if augment else []
        generator = tf.random.Generator.from_seed(8)

        def noisy(a, b):
            for layer in layers:
                a = layer(a, training=True)
            return (a + generator.normal(tf.shape(a)) if augment else a), b

        rows = tf.data.Dataset.from_tensor_slices(trainings.rows()).shuffle(32, seed=4)
        data = rows.map(noisy).batch(8).prefetch(2)
        self.first = data.cache() if cached else data
        self.second = self.first.cache() if only_second_cached else self.first
        self.epochs = epochs
        self.model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)]
        )

    def run(self, directory=None, *, dies_in=0, after=0):
        """Trains in two phases; returns the bits that it ends with, or None if it died."""
        trainings, ckptkit = self.trainings, self.trainings.ckptkit
        trainings.start_again()
        for phase, data in ((1, self.first), (2, self.second)):
            self.model.layers[0].trainable = phase == 2
            self.model.compile(trainings.keras.optimizers.Adam(0.01), "mse")
            callbacks = [trainings.after(after)] if phase == dies_in else []
            if directory is not None:
                callbacks.append(
                    ckptkit.CheckpointCallback(
                        directory / str(phase),
                        save=ckptkit.EveryNSteps(1),
                        background=False,
                        export=False,
                        exact="require",
                    )
                )
            try:
                self.model.fit(data, epochs=self.epochs, verbose=0, callbacks=callbacks)
            except trainings.StopError:
                return None
        return trainings.bits(self.model, self.model.optimizer)


def check(trainings, directory, kind, phase, after):
    """Check that a program that dies twice in a phase ends with the bits of one that does not."""
    whole = Program(trainings, **KINDS[kind]).run()
    for died, batches in enumerate((after, 1)):
        made = Program(trainings, **KINDS[kind])
        assert made.run(directory, dies_in=phase, after=batches) is None, died
    assert Program(trainings, **KINDS[kind]).run(directory) == whole


def test_a_second_fit_over_augmented_and_cached_data(trainings, run):
    after = random.randint(1, 7)
    print("dies after batch", after)
    check(trainings, run, random.choice(["cached", "augmented"]), 2, after)


def test_a_second_fit_over_shuffled_data(trainings, run):
    after = random.randint(1, 7)
    print("dies after batch", after)
    check(trainings, run, "shuffled", 2, after)


@pytest.mark.long
@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_two_fits_over_the_same_data(trainings, run, kind, phase):
    for after in range(1, 8):
        check(trainings, run / str(after), kind, phase, after)
