"""Metrics of a model come and go between two attempts; what else is saved is restored."""

from __future__ import annotations

import pytest

import ckptkit
from ckptkit.session import process_registry
from tests.keras import trainings


def model(*metrics):
    made = trainings.model()
    made.compile("adam", "mse", metrics=list(metrics))
    return made


def test_a_metric_that_is_added_or_dropped_costs_no_run(tmp_path):
    whole = model("mae")
    trainings.fit(tmp_path / "whole", whole)
    for then, now, new, gone in [
        ((), ("mae",), "mean_absolute_error", ""),
        (("mae", "mape"), ("mape",), "", "mean_absolute_error"),
        (("mae",), ("mse",), "mean_squared_error", "mean_absolute_error"),
    ]:
        run = tmp_path / "-".join(("run", *then))
        trainings.interrupted(run, model(*then))
        made = model(*now)
        with trainings.logged() as lines:
            history = trainings.fit(run, made)
        assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)
        assert history.epoch == [0, 1]
        (said,) = [line for line in lines if "metrics have changed" in line]
        assert (f"{new}: new, counts from here on" in said) == bool(new)
        assert (f"{gone}: no longer there" in said) == bool(gone)
        assert "loss" not in said


def test_a_metric_that_stays_has_its_value_at_another_place(tmp_path):
    """Its number in the list of metrics changes with those before it."""
    run = tmp_path / "run"
    expected = trainings.fit(tmp_path / "whole", model("mape")).history
    trainings.interrupted(run, model("mae", "mape"))
    found = trainings.fit(run, model("mape")).history
    names = [name for name in expected if "mape" in name]
    assert len(names) == 2
    assert [found[name] for name in ("loss", *names)] == [
        expected[name] for name in ("loss", *names)
    ]


def test_metrics_that_are_not_built_are_none_that_are_gone(tmp_path):
    """A loop with a compiled model: its metrics exist only after its first batch."""
    x, y = trainings.rows()
    made = model("mae")
    with ckptkit.CheckpointManager(tmp_path, {"model": made}) as manager:
        for _ in manager.steps(2):
            made.train_on_batch(x, y)
    process_registry.state.finished.clear()
    with (
        pytest.raises(ckptkit.IncompatibleStateError, match="the compiled metrics of 'model'"),
        ckptkit.CheckpointManager(tmp_path, {"model": model("mae")}) as manager,
    ):
        pass


def test_a_metric_that_the_state_names_has_to_be_there(tmp_path):
    tf, keras = trainings.tf, trainings.keras
    weight = tf.Variable(1.0)
    with ckptkit.CheckpointManager(
        tmp_path, {"weight": weight, "mean": keras.metrics.Mean()}
    ) as manager:
        assert list(manager.steps(1)) == [1]
    with (
        pytest.raises(ckptkit.IncompatibleStateError, match=r"missing .*mean/metrics"),
        ckptkit.CheckpointManager(tmp_path, {"weight": weight}),
    ):
        pass
