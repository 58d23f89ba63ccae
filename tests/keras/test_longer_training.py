"""Larger epochs on a finished run: it goes on from the state that training can go on from, not from
the weights that it ended with.
"""

from __future__ import annotations

import pytest

import ckptkit

ADAM = {"learning_rate": 0.05}


def test_with_an_average_of_the_weights(tf_call, run):
    """Bit for bit an uninterrupted longer run, though the weights were replaced by their average in
    between.
    """
    program, options = "tests.keras.programs:train", {**ADAM, "ema": True}
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
    program, options = "tests.keras.programs:train", {**ADAM, "stopping": True}
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
def test_on_the_same_model_object(lab, run, ema):
    def new():
        return lab.model(lab.keras.optimizers.Adam(0.05, use_ema=ema, ema_momentum=0.9))

    whole, made = new(), new()
    expected = lab.fit(run.with_name("whole"), whole, epochs=4)
    lab.fit(run, made, epochs=1)
    lab.fit(run, made, epochs=3)
    history = lab.fit(run, made, epochs=4)
    assert history.history == expected.history
    assert lab.bits(made, made.optimizer) == lab.bits(whole, whole.optimizer)


def test_early_stopping_that_has_stopped(lab, run):
    """Where training stopped early, the same epochs train nothing, and the model has the best
    weights.
    """

    def stopping():
        return lab.keras.callbacks.EarlyStopping(
            monitor="val_loss", mode="max", patience=2, restore_best_weights=True
        )

    made = lab.model(lab.keras.optimizers.Adam(0.05))
    history = lab.fit(run, made, stopping(), epochs=10)
    assert history.epoch == [0, 1, 2]
    values = lab.bits(made)
    with lab.logged() as lines:
        again = lab.fit(run, made, stopping(), epochs=10)
    assert again.history == history.history
    assert lab.bits(made) == values
    assert any("this run has finished" in line for line in lines)


def test_smaller_epochs_train_nothing(lab, run):
    made = lab.model()
    lab.fit(run, made, epochs=3)
    values = lab.bits(made)
    assert lab.fit(run, made, epochs=2).epoch == [0, 1, 2]
    assert lab.bits(made) == values
