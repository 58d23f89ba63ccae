"""Layers that a callback freezes and unfreezes: a resume trains the same ones."""

from __future__ import annotations

import pytest

import ckptkit


def frozen(trainings):
    """Return a model whose first layers are frozen, with an optimizer that knows all of them."""
    keras = trainings.keras
    keras.utils.set_random_seed(3)
    base = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(3)], name="base"
    )
    made = keras.Sequential([keras.Input((4,)), base, keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(made.trainable_variables)
    base.trainable = False
    made.compile(optimizer, "mse")
    return made


def unfreezes(trainings, *, epoch, makes_anew=True):
    class Unfreezes(trainings.keras.callbacks.Callback):
        def on_epoch_begin(self, now, logs=None):
            if now == epoch:
                base = self.model.layers[0]
                base.trainable = True
                base.layers[-1].trainable = False
                if makes_anew:
                    self.model.make_train_function(force=True)

    return Unfreezes()


def trainable(made):
    return [bool(variable.trainable) for variable in made.weights]


@pytest.mark.parametrize("makes_anew", [True, False])
@pytest.mark.parametrize("batches", [6, 10])
def test_an_unfrozen_layer_stays_unfrozen(trainings, run, batches, makes_anew):
    whole, resumed = frozen(trainings), frozen(trainings)
    at_first = trainable(whole)
    options = {"epochs": 3, "exact": "require"}
    callback = lambda: unfreezes(trainings, epoch=1, makes_anew=makes_anew)  # noqa: E731
    trainings.fit(run.with_name("whole"), whole, callback(), **options)
    trainings.interrupted(run, frozen(trainings), callback(), batches=batches, **options)
    trainings.fit(run, resumed, callback(), **options)
    assert trainable(whole) != at_first
    assert trainable(resumed) == trainable(whole)
    assert trainings.bits(resumed, resumed.optimizer) == trainings.bits(whole, whole.optimizer)


def test_what_the_code_freezes_otherwise_is_another_training(trainings, run):
    trainings.interrupted(run, frozen(trainings), batches=6)
    other = frozen(trainings)
    other.layers[0].trainable = True
    other.compile("adam", "mse")
    with pytest.raises(ckptkit.ConfigError, match="trainable has changed"):
        trainings.fit(run, other)
