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
        # Once a cache is filled, nothing draws from the layers any more.
        self.seeds = [layer.seed_generator.state for layer in layers] if cached else []
        # Evaluations draw from the same shuffle.
        self.validation = rows.batch(8)
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
                self.model.fit(
                    data,
                    epochs=self.epochs,
                    validation_data=self.validation,
                    verbose=0,
                    callbacks=callbacks,
                )
            except trainings.StopError:
                return None
        seeds = [seed.numpy().tobytes() for seed in self.seeds]
        return [*trainings.bits(self.model, self.model.optimizer), *seeds]


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


def curriculum(trainings, kind):
    """Return data whose difficulty a callback sets, and that callback."""
    keras, tf = trainings.keras, trainings.tf
    x, y = trainings.rows()

    class Rows(keras.utils.PyDataset):
        level = 1.0

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return x[index * 8 : index * 8 + 8] * self.level, y[index * 8 : index * 8 + 8]

    level = tf.Variable(1.0)
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(32, seed=1).batch(8)
    data = {
        "attribute": Rows,
        "variable": lambda: rows.map(lambda a, b: (a * level, b)),
        "variable, read ahead": lambda: rows.map(lambda a, b: (a * level, b)).prefetch(4),
        "variable, filter": lambda: (
            rows.unbatch().filter(lambda a, b: tf.abs(a[0]) < level).batch(4, drop_remainder=True)
        ),
    }[kind]()

    class Harder(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch and kind == "attribute":
                data.level = 1.0 + epoch
            elif epoch:
                level.assign(1.0 + epoch)

    return data, Harder()


@pytest.mark.parametrize(
    "kind", ["attribute", "variable", "variable, read ahead", "variable, filter"]
)
def test_a_curriculum(trainings, run, kind):
    def train(*callbacks):
        trainings.start_again()
        made = trainings.model()
        data, harder = curriculum(trainings, kind)
        made.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[harder, *callbacks])
        return trainings.bits(made, made.optimizer)

    def ours():
        return trainings.ckptkit.CheckpointCallback(
            run, save=trainings.ckptkit.EveryNSteps(1), export=False, background=False
        )

    whole = train()
    after = random.randint(6, 9)
    print("dies after batch", after)
    with pytest.raises(trainings.StopError):
        train(trainings.after(after), ours())
    assert train(ours()) == whole


def test_a_mixture_of_finite_datasets(trainings, run):
    tf = trainings.tf

    def data():
        x, y = trainings.rows()
        parts = [
            tf.data.Dataset.from_tensor_slices((x[rows], y[rows])).shuffle(8, seed=2)
            for rows in (slice(0, 4), slice(4, 32))
        ]
        mixed = tf.data.Dataset.sample_from_datasets(
            parts, [0.5, 0.5], seed=3, stop_on_empty_dataset=False
        )
        return mixed.batch(4, drop_remainder=True)

    def train(*callbacks):
        trainings.start_again()
        made = trainings.model()
        made.fit(data(), epochs=3, verbose=0, callbacks=[*callbacks])
        return trainings.bits(made, made.optimizer)

    def ours():
        return trainings.ckptkit.CheckpointCallback(
            run, save=trainings.ckptkit.EveryNSteps(1), export=False, exact="require"
        )

    whole = train()
    with pytest.raises(trainings.StopError):
        train(trainings.after(14), ours())
    assert train(ours()) == whole


@pytest.mark.long
@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_two_fits_over_the_same_data(trainings, run, kind, phase):
    for after in range(1, 8):
        check(trainings, run / str(after), kind, phase, after)
