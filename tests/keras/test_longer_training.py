"""Larger epochs on a finished run continue from the state before averages or best weights."""

from __future__ import annotations

import pytest

import ckptkit

ADAM = {"learning_rate": 0.05}


def test_with_an_average_of_the_weights(tf_call, run):
    """The result is that of an uninterrupted longer run, bit for bit."""
    program, options = "tests.keras.training_programs:train", {**ADAM, "ema": True}
    whole = (
        tf_call(program, {**options, "run": str(run.with_name("whole")), "epochs": 4})
        .check()
        .result
    )
    short = tf_call(program, {**options, "run": str(run), "epochs": 2}).check().result
    assert ckptkit.open_run(run).find("latest").manifest.final
    again = tf_call(program, {**options, "run": str(run), "epochs": 2}).check().result
    assert again == {**short, "batches": 0}, "the finished run's model has the averaged weights"
    longer = tf_call(program, {**options, "run": str(run), "epochs": 4}).check().result
    assert longer == {**whole, "batches": 8}


def test_with_the_best_weights_of_early_stopping(tf_call, run):
    # The monitor is the validation's loss taken for something to maximise, so the best epoch is an
    # early one.
    program, options = "tests.keras.training_programs:train", {**ADAM, "stopping": True}
    whole = (
        tf_call(program, {**options, "run": str(run.with_name("whole")), "epochs": 5})
        .check()
        .result
    )
    short = tf_call(program, {**options, "run": str(run), "epochs": 3}).check().result
    assert short["history"]["val_loss"].index(max(short["history"]["val_loss"])) == 0
    again = tf_call(program, {**options, "run": str(run), "epochs": 3}).check().result
    assert again == {**short, "batches": 0}, "the finished run's model has the best weights"
    longer = tf_call(program, {**options, "run": str(run), "epochs": 5}).check().result
    assert longer == {**whole, "batches": 8}


@pytest.mark.parametrize("ema", [True, False])
def test_on_the_same_model_object(trainings, run, ema):
    def new():
        return trainings.model(trainings.keras.optimizers.Adam(0.05, use_ema=ema, ema_momentum=0.9))

    whole, made = new(), new()
    expected = trainings.fit(run.with_name("whole"), whole, epochs=4)
    trainings.fit(run, made, epochs=1)
    trainings.fit(run, made, epochs=3)
    history = trainings.fit(run, made, epochs=4)
    assert history.history == expected.history
    assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)


def test_early_stopping_that_has_stopped(trainings, run):
    """The same epochs train nothing then, and the model has the best weights."""

    def stopping():
        return trainings.keras.callbacks.EarlyStopping(
            monitor="val_loss", mode="max", patience=2, restore_best_weights=True
        )

    made = trainings.model(trainings.keras.optimizers.Adam(0.05))
    history = trainings.fit(run, made, stopping(), epochs=10)
    assert history.epoch == [0, 1, 2]
    values = trainings.bits(made)
    with trainings.logged() as lines:
        again = trainings.fit(run, made, stopping(), epochs=10)
    assert again.history == history.history
    assert trainings.bits(made) == values
    assert any("this run has finished" in line for line in lines)


def test_smaller_epochs_train_nothing(trainings, run):
    made = trainings.model()
    trainings.fit(run, made, epochs=3)
    values = trainings.bits(made)
    assert trainings.fit(run, made, epochs=2).epoch == [0, 1, 2]
    assert trainings.bits(made) == values
