"""A training that was stopped because its loss is NaN is not finished, and not published."""

from __future__ import annotations

import pytest

import ckptkit
from tests.keras.conftest import journal_events


def diverging(
    trainings, run, epoch, *, poison=True, stopping=None, save=None, keep=None, **options
):
    """Train with weights that become NaN before the second batch of an epoch."""
    made = trainings.model()

    class Poison(trainings.keras.callbacks.Callback):
        def on_epoch_begin(self, now, logs=None):
            self.epoch = now

        def on_train_batch_begin(self, batch, logs=None):
            if poison and (self.epoch, batch) == (epoch, 1):
                made.layers[0].bias.assign(made.layers[0].bias * float("nan"))

    history = made.fit(
        trainings.data(),
        epochs=4,
        verbose=0,
        callbacks=[
            Poison(),
            stopping or trainings.keras.callbacks.TerminateOnNaN(),
            ckptkit.CheckpointCallback(
                run,
                save=ckptkit.EveryNEpochs(1) if save is None else save,
                keep=keep,
                background=False,
                **options,
            ),
        ],
    )
    return made, history


@pytest.mark.parametrize("epoch", [0, 2, 3])
def test_it_is_not_finished(trainings, run, epoch):
    whole, _ = diverging(trainings, run.with_name("whole"), epoch, poison=False)
    with trainings.logged() as lines:
        _, history = diverging(trainings, run, epoch)
    assert len(history.epoch) == epoch + 1, "fit returns as without us"
    assert not journal_events(run, "finished")
    assert not journal_events(run, "exported")
    assert [event.epoch for event in journal_events(run, "saved")] == list(range(1, epoch + 1))[
        :epoch
    ]
    (failed,) = journal_events(run, "failed")
    assert (failed.error, failed.restart) == ("DivergedError", False)
    (line,) = [line for line in lines if "stopped with loss=nan" in line]
    assert "next start resumes from before it" in line
    made, history = diverging(trainings, run, epoch, poison=False)
    assert history.epoch == [0, 1, 2, 3]
    assert [event.epoch for event in journal_events(run, "finished")] == [4]
    assert len(journal_events(run, "exported")) == 1
    assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)


def test_the_next_start_does_not_go_on_with_what_is_no_number(trainings, run):
    """Saves between the first NaN and the stop exist, and no later start resumes from them."""

    def stopping():
        return trainings.keras.callbacks.EarlyStopping(
            monitor="loss", mode="max", patience=0, start_from_epoch=1
        )

    options = {"save": ckptkit.EveryNSteps(2), "keep": ckptkit.KeepLatest(3)}
    diverging(trainings, run, 1, stopping=stopping(), **options)
    assert [checkpoint.step for checkpoint in ckptkit.open_run(run).checkpoints] == [4, 6, 8, 10]
    with pytest.raises(trainings.StopError):
        diverging(
            trainings,
            run,
            1,
            poison=False,
            stopping=trainings.after(1),
            save=ckptkit.EveryNEpochs(1),
        )
    made, history = diverging(trainings, run, 1, poison=False, **options)
    assert [event.step for event in journal_events(run, "restored")] == [4, 4]
    assert history.epoch == [0, 1, 2, 3]
    assert all(value == value for variable in made.variables for value in variable.numpy().ravel())


def test_a_metric_that_is_no_number_is_no_divergence(trainings, run):
    class Nothing(trainings.keras.metrics.Metric):
        def update_state(self, *values, sample_weight=None):
            pass

        def result(self):
            return trainings.tf.constant(float("nan"))

    made = trainings.model()
    made.compile("adam", "mse", metrics=[Nothing(name="nothing")])
    made.fit(
        trainings.data(),
        epochs=4,
        verbose=0,
        callbacks=[
            trainings.keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=0),
            ckptkit.CheckpointCallback(run, export=False),
        ],
    )
    assert len(journal_events(run, "finished")) == 1
