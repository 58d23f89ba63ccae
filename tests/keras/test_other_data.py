"""A restart with other data than the run had: it goes on where that is possible, and says in what
it is another run now.
"""

from __future__ import annotations

import numpy as np
import pytest

import ckptkit
from tests.keras.conftest import told
from tests.support.spread import spread


def validation(lab, rows=16):
    x, y = lab.rows()
    return lab.tf.data.Dataset.from_tensor_slices((x[:rows], y[:rows])).batch(8)


def train(lab, run, *callbacks, data=None, exact="warn", epochs=3, **options):
    made = lab.model()
    history = made.fit(
        lab.data() if data is None else data,
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
    return [event.reason for event in told(run, "inexact")]


@pytest.mark.parametrize(
    ("unknown", "options"),
    spread(
        [(False, {}), (True, {}), (True, {"validation_steps": 2}), (False, {"validation_steps": 2})]
    ),
)
def test_validation_data_that_is_added(lab, run, unknown, options):
    def data():
        return validation(lab).filter(lambda x, y: True) if unknown else validation(lab)

    whole, expected = train(lab, run.with_name("whole"), validation_data=data(), **options)
    with pytest.raises(lab.StopError):
        train(lab, run, lab.after(10))
    calls = []
    watch = lab.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    watch.on_test_batch_end = lambda batch, logs=None: calls.append(batch)
    made, history = train(lab, run, watch, validation_data=data(), **options)
    assert history.history["loss"] == expected.history["loss"]
    assert history.history["val_loss"] == expected.history["val_loss"][2:]
    assert calls == [0, 1]
    assert lab.bits(made) == lab.bits(whole)
    assert [
        reason
        for reason in reasons(run)
        if "0 evaluations were made before this position, and 2 now" in reason
    ]
    again = run.with_name("again")
    with pytest.raises(lab.StopError):
        train(lab, again, lab.after(10))
    with pytest.raises(ckptkit.ConfigError, match="evaluations were made before"):
        train(lab, again, validation_data=data(), exact="require", **options)


def stop_in_evaluation(lab, run, epoch):
    class Stop(lab.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_test_batch_end(self, batch, logs=None):
            if self.epoch == epoch:
                ours.request_stop()

        def get_state(self):
            return None

        def set_state(self, state):
            pass

    made = lab.model()
    ours = ckptkit.CheckpointManager(run, {"model": made}, save=ckptkit.EveryNSteps(1))
    with pytest.raises(ckptkit.Preempted):
        made.fit(
            lab.data(),
            epochs=3,
            verbose=0,
            validation_data=validation(lab),
            callbacks=[Stop(), ckptkit.CheckpointCallback(ours, export=False)],
        )


@pytest.mark.parametrize("epoch", [1, 2])
def test_validation_data_that_is_gone_where_the_run_was_stopped_in_it(lab, run, epoch):
    whole, expected = train(lab, run.with_name("whole"))
    stop_in_evaluation(lab, run, epoch)
    ends = []
    watch = lab.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(epoch))
    made, history = train(lab, run, watch)
    assert history.epoch == [0, 1, 2]
    assert history.history["loss"] == expected.history["loss"]
    assert ends == [0, 1, 2][epoch:]
    assert lab.bits(made, made.optimizer) == lab.bits(whole, whole.optimizer)
    assert [
        reason
        for reason in reasons(run)
        if f"stopped in the evaluation of epoch {epoch}, and there is no evaluation now" in reason
    ]


def longer(lab, batches):
    x, y = lab.rows()
    rows = np.arange(8 * batches) % len(x)
    return lab.tf.data.Dataset.from_tensor_slices((x[rows], y[rows])).batch(8)


@pytest.mark.parametrize(("then", "now"), [(4, 6), (6, 5)])
def test_data_of_another_length(lab, run, then, now):
    with pytest.raises(lab.StopError):
        train(lab, run, lab.after(then + 3), data=longer(lab, then))
    with pytest.raises(
        ckptkit.ConfigError, match=rf"an epoch had {then} batches and has {now} now"
    ):
        train(lab, run, data=longer(lab, now), exact="require")
    _, history = train(lab, run, data=longer(lab, now))
    assert history.epoch == [0, 1, 2]
    assert any(
        f"an epoch had {then} batches and has {now} now" in reason for reason in reasons(run)
    )


def test_steps_per_epoch_that_are_other(lab, run):
    with pytest.raises(lab.StopError):
        train(lab, run, lab.after(6), data=lab.data().repeat(), steps_per_epoch=4)
    with pytest.raises(ckptkit.ConfigError, match="an epoch had 4 batches and has 3 now"):
        train(lab, run, data=lab.data().repeat(), steps_per_epoch=3, exact="require")


def test_an_older_place_does_not_know_how_many_batches_there_were(lab):
    from ckptkit.keras.fit.fit_position import FitPosition

    state = FitPosition(batches=4).to_state()
    del state["batches"]
    assert FitPosition.from_state(state).batches is None


def test_a_later_place_says_more(lab):
    from ckptkit.keras.fit.fit_position import FitPosition

    state = FitPosition().to_state()
    state["now"]["from_then"] = state["from_then"] = 1
    state["epochs"] = [{"calls": 3, "ended": False, "from_then": 1}]
    assert FitPosition.from_state(state).epochs[0].calls == 3


def test_a_place_of_a_later_version_is_refused(lab, run, monkeypatch):
    from ckptkit.keras.fit import saved_position

    with monkeypatch.context() as later:
        later.setattr(saved_position, "VERSION", 2)
        lab.interrupted(run)
    with pytest.raises(
        ckptkit.IncompatibleStateError,
        match=r"of version 2, and this ckptkit reads versions up to 1",
    ):
        lab.fit(run)
    assert not told(run, "restored")


def test_a_place_without_a_version_is_read(lab, run, monkeypatch):
    """As the first versions wrote it."""
    from ckptkit.keras.fit import fit_state

    with monkeypatch.context() as earlier:
        earlier.setattr(
            fit_state, "position_to_state", lambda position: {"place": position.to_state()}
        )
        lab.interrupted(run)
    assert lab.fit(run).epoch == [0, 1]
