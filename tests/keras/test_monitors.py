"""Monitors in `fit`: their direction, the end of epochs, and those that never come."""

from __future__ import annotations

import pytest

import ckptkit

EVERY = ckptkit.EveryNSteps(1)


def scored(trainings, direction=None):
    """Return a model with a metric of its own, which gets larger with each epoch."""
    keras = trainings.keras

    class Score(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="score")
            self.calls = self.add_weight(name="calls", initializer="zeros")
            if direction is not None:
                self._direction = direction

        def update_state(self, *_, **__):
            self.calls.assign_add(1)

        def reset_state(self):
            """Keeps the count over all epochs."""

        def result(self):
            return self.calls

    keras.utils.set_random_seed(3)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    made.compile("adam", "mse", metrics=[Score()])
    return made


def kept(run):
    return [checkpoint.step for checkpoint in ckptkit.open_run(run).checkpoints]


def test_the_direction_of_a_metric_object(trainings, run):
    save = ckptkit.OnBest("score")
    with trainings.logged() as lines:
        trainings.fit(run, scored(trainings, "up"), epochs=3, save=save, keep=ckptkit.KeepLatest(9))
    # It grows in each step, and epochs are compared.
    assert kept(run) == [4, 8, 12]
    assert ckptkit.open_run(run).find("best", monitor="score", mode="max").step == 12
    with pytest.raises(ckptkit.ConfigError, match=r"find\('best'\): it is unknown whether"):
        ckptkit.open_run(run).find("best", monitor="score")
    assert not [line for line in lines if "was not reported" in line]


@pytest.mark.parametrize(
    "options",
    [
        {"save": ckptkit.OnBest("val_score") | EVERY},
        {"keep": ckptkit.KeepBest("score")},
        {"export": ckptkit.ExportSpec(weights="best", monitor="score")},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_direction_that_nobody_knows_is_demanded_before_the_first_step(trainings, run, options):
    made = scored(trainings)
    with pytest.raises(ckptkit.ConfigError, match=r"score' are better.*Expected mode='min'"):
        trainings.fit(run, made, **options)
    assert int(made.optimizer.iterations) == 0
    assert not run.exists()


def test_the_best_accuracy_is_the_largest(trainings, run):
    keras = trainings.keras
    accuracies = iter([0.2, 0.8, 0.4])

    class Reports(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_accuracy"] = next(accuracies)

    trainings.fit(
        run,
        None,
        Reports(),
        epochs=3,
        save=ckptkit.OnBest("val_accuracy"),
        keep=ckptkit.KeepLatest(1) | ckptkit.KeepBest("val_accuracy"),
    )
    assert kept(run) == [8, 12]
    assert ckptkit.open_run(run).find("best", monitor="val_accuracy").step == 8


def test_averages_of_an_unfinished_epoch_are_no_best(trainings, run):
    """The loss falls with each batch: its average so far would be a record in each step."""
    trainings.fit(run, None, epochs=3, save=ckptkit.OnBest("loss"), keep=ckptkit.KeepLatest(99))
    assert kept(run) == [4, 8, 12]
    run = run.with_name("every")
    trainings.fit(run, None, epochs=2, save=EVERY, keep=ckptkit.KeepLatest(99))
    heads = [checkpoint.head for checkpoint in ckptkit.open_run(run).checkpoints]
    assert [head.step for head in heads if not head.running_averages] == [4, 8]


def test_a_monitor_that_never_comes_is_named_once(trainings, run):
    with trainings.logged() as lines:
        trainings.fit(run, None, epochs=3, keep=ckptkit.KeepBest("val_los", mode="min"))
    (line,) = [line for line in lines if "the metric 'val_los' was not reported" in line]
    assert "Reported metrics: loss, val_loss." in line


def test_a_metric_of_a_later_evaluation_is_not_missing(trainings, run):
    with trainings.logged() as lines:
        trainings.fit(
            run,
            None,
            epochs=3,
            save=ckptkit.OnBest("val_loss"),
            fit_options={"validation_freq": 2},
        )
    assert not [line for line in lines if "was not reported" in line]
    assert 8 in kept(run)


def test_a_run_that_would_never_save_is_ended_with_its_state_saved(trainings, run):
    with pytest.raises(ckptkit.ConfigError, match=r"needs 'val_los'.*: loss, val_loss\."):
        trainings.fit(run, None, epochs=3, save=ckptkit.OnBest("val_los", mode="min"))
    assert kept(run) == [4]
    history = trainings.fit(run, None, epochs=3, save=ckptkit.OnBest("val_loss")).history
    whole = trainings.fit(run.with_name("whole"), None, epochs=3).history
    assert history == whole


def test_names_in_changed_that_nothing_has(trainings, run):
    changed = {"lerning_rate": "code", "learning_rate": "code", "hparams.depth": "code"}
    with trainings.logged() as lines:
        trainings.fit(run, None, epochs=1, changed=changed, hparams={"depth": 2})
    (line,) = [line for line in lines if "changed=... names" in line]
    assert "names 'lerning_rate', but no hyperparameter" in line
    assert "learning_rate" in line.partition("Valid names:")[2]
