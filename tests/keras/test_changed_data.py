"""Resumes with other data than the run had: each works, or the difference is reported."""

from __future__ import annotations

import numpy as np
import pytest

import ckptkit
from tests.keras.conftest import journal_events
from tests.support.spread import spread


def validation(trainings, rows=16):
    x, y = trainings.rows()
    return trainings.tf.data.Dataset.from_tensor_slices((x[:rows], y[:rows])).batch(8)


def train(trainings, run, *callbacks, data=None, exact="warn", epochs=3, **options):
    made = trainings.model()
    history = made.fit(
        trainings.data() if data is None else data,
        epochs=epochs,
        verbose=0,
        callbacks=[
            *callbacks,
            ckptkit.CheckpointCallback(run, save=ckptkit.EveryNSteps(1), export=False, exact=exact),
        ],
        **options,
    )
    return made, history


def reasons(run):
    return [event.reason for event in journal_events(run, "inexact")]


@pytest.mark.parametrize(
    ("unknown", "options"),
    spread(
        [(False, {}), (True, {}), (True, {"validation_steps": 2}), (False, {"validation_steps": 2})]
    ),
)
def test_validation_data_that_is_added(trainings, run, unknown, options):
    def data():
        return validation(trainings).filter(lambda x, y: True) if unknown else validation(trainings)

    whole, expected = train(trainings, run.with_name("whole"), validation_data=data(), **options)
    with pytest.raises(trainings.StopError):
        train(trainings, run, trainings.after(10))
    calls = []
    watch = trainings.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    watch.on_test_batch_end = lambda batch, logs=None: calls.append(batch)
    made, history = train(trainings, run, watch, validation_data=data(), **options)
    assert history.history["loss"] == expected.history["loss"]
    assert history.history["val_loss"] == expected.history["val_loss"][2:]
    assert calls == [0, 1]
    assert trainings.bits(made) == trainings.bits(whole)
    assert [
        reason
        for reason in reasons(run)
        if "0 evaluations were made before this position, and 2 now" in reason
    ]
    again = run.with_name("again")
    with pytest.raises(trainings.StopError):
        train(trainings, again, trainings.after(10))
    with pytest.raises(ckptkit.ConfigError, match="evaluations were made before"):
        train(trainings, again, validation_data=data(), exact="require", **options)


def stop_in_evaluation(trainings, run, epoch):
    class Stop(trainings.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_test_batch_end(self, batch, logs=None):
            if self.epoch == epoch:
                ours.request_stop()

        def get_state(self):
            return None

        def set_state(self, state):
            pass

    made = trainings.model()
    ours = ckptkit.CheckpointManager(run, {"model": made}, save=ckptkit.EveryNSteps(1))
    with pytest.raises(ckptkit.Preempted):
        made.fit(
            trainings.data(),
            epochs=3,
            verbose=0,
            validation_data=validation(trainings),
            callbacks=[Stop(), ckptkit.CheckpointCallback(ours, export=False)],
        )


@pytest.mark.parametrize("epoch", [1, 2])
def test_validation_data_that_is_gone_where_the_run_was_stopped_in_it(trainings, run, epoch):
    whole, expected = train(trainings, run.with_name("whole"))
    stop_in_evaluation(trainings, run, epoch)
    ends = []
    watch = trainings.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(epoch)
    )
    made, history = train(trainings, run, watch)
    assert history.epoch == [0, 1, 2]
    assert history.history["loss"] == expected.history["loss"]
    assert ends == [0, 1, 2][epoch:]
    assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)
    assert [
        reason
        for reason in reasons(run)
        if f"stopped in the evaluation of epoch {epoch}, but fit has no evaluation now" in reason
    ]


def longer(trainings, batches):
    x, y = trainings.rows()
    rows = np.arange(8 * batches) % len(x)
    return trainings.tf.data.Dataset.from_tensor_slices((x[rows], y[rows])).batch(8)


@pytest.mark.parametrize(("then", "now"), [(4, 6), (6, 5)])
def test_data_of_another_length(trainings, run, then, now):
    with pytest.raises(trainings.StopError):
        train(trainings, run, trainings.after(then + 3), data=longer(trainings, then))
    with pytest.raises(
        ckptkit.ConfigError, match=rf"an epoch had {then} batches and has {now} now"
    ):
        train(trainings, run, data=longer(trainings, now), exact="require")
    _, history = train(trainings, run, data=longer(trainings, now))
    assert history.epoch == [0, 1, 2]
    assert any(
        f"an epoch had {then} batches and has {now} now" in reason for reason in reasons(run)
    )


def test_steps_per_epoch_that_are_other(trainings, run):
    with pytest.raises(trainings.StopError):
        train(trainings, run, trainings.after(6), data=trainings.data().repeat(), steps_per_epoch=4)
    with pytest.raises(ckptkit.ConfigError, match="an epoch had 4 batches and has 3 now"):
        train(trainings, run, data=trainings.data().repeat(), steps_per_epoch=3, exact="require")


@pytest.mark.parametrize(("then", "now"), [(4, 3), (4, 6)])
def test_another_steps_per_epoch_counts_from_the_present_epoch_on(trainings, run, then, now):
    def data(drawn):
        repeated = trainings.data().repeat()
        # A Python function cannot be saved, so that its batches are drawn again.
        return (
            repeated.map(lambda x, y: (trainings.tf.numpy_function(copy, [x], "float32"), y)).map(
                lambda x, y: (trainings.tf.ensure_shape(x, (None, 4)), y)
            )
            if drawn
            else repeated
        )

    def copy(x):
        return x.copy()

    updates = then + 2 * now
    whole = trainings.model()
    whole.fit(data(False), epochs=1, steps_per_epoch=updates, verbose=0)
    for drawn in (False, True):
        directory = run / str(drawn)
        with pytest.raises(trainings.StopError):
            train(trainings, directory, trainings.after(7), data=data(drawn), steps_per_epoch=then)
        made, history = train(trainings, directory, data=data(drawn), steps_per_epoch=now)
        assert history.epoch == [0, 1, 2]
        assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)
        assert ckptkit.open_run(directory).find("latest").step == updates
        assert int(made.optimizer.iterations) == updates


def test_an_older_position_has_no_number_of_batches(trainings):
    from ckptkit.keras.fit.fit_position import FitPosition

    state = FitPosition(batches=4).to_state()
    del state["batches"]
    assert FitPosition.from_state(state).batches is None


def test_a_later_position_has_more_entries(trainings):
    from ckptkit.keras.fit.fit_position import FitPosition

    state = FitPosition().to_state()
    state["now"]["from_then"] = state["from_then"] = 1
    state["epochs"] = [{"calls": 3, "ended": False, "from_then": 1}]
    assert FitPosition.from_state(state).epochs[0].calls == 3


def test_a_position_of_a_later_version_is_refused(trainings, run, monkeypatch):
    from ckptkit.keras.fit import fit_state

    with monkeypatch.context() as later:
        later.setattr(
            fit_state,
            "position_to_state",
            lambda position, counted: {"version": 3, "place": position.to_state()},
        )
        trainings.interrupted(run)
    with pytest.raises(
        ckptkit.IncompatibleStateError,
        match=r"in format version 3, and this ckptkit reads up to version 2",
    ):
        trainings.fit(run)
    assert not journal_events(run, "restored")


def test_a_position_of_counted_batches_is_refused_by_earlier_versions():
    """They would take it for the start of the epoch."""
    from ckptkit.keras.fit.fit_position import CountedBatches, FitPosition, position_to_state

    assert position_to_state(FitPosition(), None)["version"] == 1
    counted = position_to_state(FitPosition(), CountedBatches(drawn=5, since=2))
    assert (counted["version"], counted["counted"]) == (2, {"drawn": 5, "since": 2})


def test_a_position_without_a_version_is_read(trainings, run, monkeypatch):
    """The first versions wrote none."""
    from ckptkit.keras.fit import fit_state

    with monkeypatch.context() as earlier:
        earlier.setattr(
            fit_state,
            "position_to_state",
            lambda position, counted: {"place": position.to_state()},
        )
        trainings.interrupted(run)
    assert trainings.fit(run).epoch == [0, 1]
