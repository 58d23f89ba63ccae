"""Logs and hyperparameters of odd forms end no training: what can be recorded is recorded."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import ckptkit
from ckptkit.keras.fit.plain_logs import named_logs, not_finite, plain_logs


def nested(trainings, *, eager=False):
    """Return a model with the train step of Keras' guide, which returns nested metrics."""
    keras, tf = trainings.keras, trainings.tf

    class Nested(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                predicted = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=predicted)
            variables = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, predicted)
            logs = {metric.name: metric.result() for metric in self.metrics}
            assert isinstance(logs["compile_metrics"], dict)
            if eager:
                logs |= {"text": tf.constant("abc"), "one": np.ones(1), "\udcff": 1.0}
                logs |= {"ragged": tf.ragged.constant([[1], [2, 3]]), "deep": {"er": {"x": 2}}}
            return logs

    keras.utils.set_random_seed(3)
    made = Nested([keras.Input((4,)), keras.layers.Dense(1)])
    made.compile(
        keras.optimizers.Adam(clipnorm=np.float64(1.0)), "mse", metrics=["mae"], run_eagerly=eager
    )
    return made


@pytest.mark.parametrize("eager", [False, True], ids=["graph", "eager, with odd logs"])
def test_a_train_step_that_returns_nested_logs(trainings, run, eager):
    made = nested(trainings, eager=eager)
    expected = trainings.fit(run.with_name("whole"), made).history

    def ask_to_stop():
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(ckptkit.Preempted) as stopped:
        trainings.fit(run, nested(trainings, eager=eager), trainings.after(2, ask_to_stop))
    assert stopped.value.code == 75
    saved = ckptkit.open_run(run).checkpoints[-1]
    assert saved.step == 2
    assert {"loss", "mae"} <= saved.metrics.keys()
    again = nested(trainings, eager=eager)
    history = trainings.fit(run, again).history
    assert {"loss", "mae", "val_loss"} <= history.keys()
    for name in ("loss", "mae", "val_loss", "val_mae"):
        assert history[name] == expected[name]
    assert trainings.bits(again, again.optimizer) == trainings.bits(made, made.optimizer)


def test_logs_that_are_no_numbers_are_left_out():
    logs = {"loss": 0.5, "text": "abc", "ragged": [[1], [2, 3]], "more": {"nan": float("nan")}}
    assert plain_logs(logs).keys() == {"loss", "nan"}
    assert not_finite(logs) == []
    assert not_finite(logs | {"loss": float("inf")}) == ["loss=inf"]
    assert named_logs(None) == named_logs(0.5) == {}


def test_a_loss_whose_settings_cannot_be_read_is_told_and_trained(trainings, run):
    class Unreadable(trainings.keras.losses.Loss):
        def call(self, expected, predicted):
            return trainings.tf.reduce_mean((expected - predicted) ** 2)

        def get_config(self):
            raise ValueError("no settings")

    made = trainings.model(loss=Unreadable())
    with trainings.logged() as lines:
        assert trainings.fit(run, made, epochs=1).epoch == [0]
    (said,) = [line for line in lines if "Unreadable" in line]
    assert "ValueError: no settings" in said
    assert trainings.fit(run, made, epochs=2).epoch == [0, 1], "it is resumed as well"
