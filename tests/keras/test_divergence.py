"""A training that was stopped because its loss is no number any more is not finished, and its model
is not published.
"""

from __future__ import annotations

import pytest

import ckptkit
from tests.keras.conftest import told


def diverging(lab, run, epoch, *, poison=True, stopping=None, save=None, keep=None, **options):
    """Train with weights that become NaN before the second batch of an epoch; return the results."""
    made = lab.model()

    class Poison(lab.keras.callbacks.Callback):
        def on_epoch_begin(self, now, logs=None):
            self.epoch = now

        def on_train_batch_begin(self, batch, logs=None):
            if poison and (self.epoch, batch) == (epoch, 1):
                made.layers[0].bias.assign(made.layers[0].bias * float("nan"))

    history = made.fit(
        lab.data(),
        epochs=4,
        verbose=0,
        callbacks=[
            Poison(),
            stopping or lab.keras.callbacks.TerminateOnNaN(),
            ckptkit.CheckpointCallback(
                run, save=save or ckptkit.EveryNEpochs(1), keep=keep, background=False, **options
            ),
        ],
    )
    return made, history


@pytest.mark.parametrize("epoch", [0, 2, 3])
def test_it_is_not_finished(lab, run, epoch):
    whole, _ = diverging(lab, run.with_name("whole"), epoch, poison=False)
    with lab.logged() as lines:
        _, history = diverging(lab, run, epoch)
    assert len(history.epoch) == epoch + 1, "fit returns as without us"
    assert not told(run, "finished")
    assert not told(run, "exported")
    assert [event.epoch for event in told(run, "saved")] == list(range(1, epoch + 1))[:epoch]
    (failed,) = told(run, "failed")
    assert (failed.error, failed.restart) == ("DivergedError", False)
    (said,) = [line for line in lines if "stopped with loss=nan" in line]
    assert "next start goes on before it" in said
    made, history = diverging(lab, run, epoch, poison=False)
    assert history.epoch == [0, 1, 2, 3]
    assert [event.epoch for event in told(run, "finished")] == [4]
    assert len(told(run, "exported")) == 1
    assert lab.bits(made, made.optimizer) == lab.bits(whole, whole.optimizer)


def test_the_next_start_does_not_go_on_with_what_is_no_number(lab, run):
    """Saves that were made between the first NaN and the stop are there, and are not what the run
    goes on from; not in later starts either.
    """

    def stopping():
        return lab.keras.callbacks.EarlyStopping(
            monitor="loss", mode="max", patience=0, start_from_epoch=1
        )

    options = {"save": ckptkit.EveryNSteps(2), "keep": ckptkit.KeepLatest(3)}
    diverging(lab, run, 1, stopping=stopping(), **options)
    assert [checkpoint.step for checkpoint in ckptkit.open_run(run).checkpoints] == [4, 6, 8, 10]
    with pytest.raises(lab.StopError):
        diverging(lab, run, 1, poison=False, stopping=lab.after(1), save=ckptkit.EveryNEpochs(1))
    made, history = diverging(lab, run, 1, poison=False, **options)
    assert [event.step for event in told(run, "restored")] == [4, 4]
    assert history.epoch == [0, 1, 2, 3]
    assert all(value == value for variable in made.variables for value in variable.numpy().ravel())


def test_a_metric_that_is_no_number_is_no_divergence(lab, run):
    class Nothing(lab.keras.metrics.Metric):
        def update_state(self, *values, sample_weight=None):
            pass

        def result(self):
            return lab.tf.constant(float("nan"))

    made = lab.model()
    made.compile("adam", "mse", metrics=[Nothing(name="nothing")])
    made.fit(
        lab.data(),
        epochs=4,
        verbose=0,
        callbacks=[
            lab.keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=0),
            ckptkit.CheckpointCallback(run, export=False),
        ],
    )
    assert len(told(run, "finished")) == 1
