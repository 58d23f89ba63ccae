"""Trainings of a tuner: each has a run of its own, and none takes another one's weights."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest

import ckptkit
from ckptkit.session import process_registry
from tests.keras.conftest import journal_events
from tests.support.processes import ROOT

SEARCH = """
import json, os, signal, sys
import keras, keras_tuner, numpy as np
import ckptkit

directory, die = sys.argv[1], sys.argv[2] == "die"
x = np.random.default_rng(9).normal(size=(32, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)


def build(hp):
    keras.utils.set_random_seed(3)
    rate = hp.Choice("rate", [0.0, 0.5], ordered=False)
    layers = keras.layers
    parts = [layers.Dense(3), layers.Dropout(rate), layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *parts])
    model.compile("adam", "mse")
    return model


class Search(keras_tuner.GridSearch):
    def on_epoch_end(self, trial, model, epoch, logs=None):
        batches.append((trial.trial_id, epoch))
        if die and len(batches) == 4:
            os.kill(os.getpid(), signal.SIGKILL)


batches = []
tuner = Search(
    build, objective="val_loss", directory=directory, project_name="search", executions_per_trial=2
)
callback = ckptkit.CheckpointCallback(
    directory + "/runs/{trial}", save=ckptkit.EveryNEpochs(1), background=False, export=False
)
tuner.search(
    x, y, epochs=3, batch_size=8, validation_data=(x, y), callbacks=[callback], verbose=0
)
scores = {
    trial.hyperparameters.get("rate"): trial.score for trial in tuner.oracle.get_best_trials(9)
}
print(json.dumps({"scores": sorted(scores.items()), "trained": batches}))
"""


def test_keras_tuner_is_killed_and_continues(tf_process, tmp_path):
    def search(name, die="live"):
        return tf_process(SEARCH, str(tmp_path / name), die)

    def result(process):
        return json.loads(process.check().stdout.splitlines()[-1])

    whole = result(search("whole"))
    assert len({score for _, score in whole["scores"]}) == 2, "the rates make a difference"
    search("killed", "die").check(code=-9)
    again = result(search("killed"))
    assert again["scores"] == whole["scores"]
    trained = [tuple(each) for each in whole["trained"]]
    # The first execution is finished, and the epochs of the second that are saved are not repeated.
    assert [tuple(each) for each in again["trained"]] == trained[4:] or [
        tuple(each) for each in again["trained"]
    ] == trained[3:]
    runs = sorted(path.name for path in (tmp_path / "killed" / "runs").iterdir())
    trials = sorted({trial for trial, _ in trained})
    assert runs == sorted(f"{trial}{suffix}" for trial in trials for suffix in ("", "-2"))


def test_the_recipes_of_the_document_run(trainings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipes = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "trials.md").read_text(), re.M | re.S
    )
    assert len(recipes) == 2
    for recipe in recipes:
        exec(compile(recipe, "docs/trials.md", "exec"), {})
    assert len(list((tmp_path / "search" / "runs").iterdir())) == 2
    runs = sorted((tmp_path / "folds").iterdir())
    assert [run.name for run in runs] == ["fold-0", "fold-1", "fold-2"]
    assert all(journal_events(run, "finished") for run in runs)


class Estimator:
    """Fits as the wrapper of scikeras does: `sklearn.clone` copies its callbacks for each fit."""

    def __init__(self, trainings, callbacks):
        self.trainings, self.callbacks = trainings, callbacks

    def fit(self, x, y, **model):
        model = self.trainings.model(**model)
        callbacks = copy.deepcopy(self.callbacks)
        history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=callbacks)
        return model, history


def grid_search(trainings, callback, *, widths=(3, 4), folds=2):
    """Fit each point of a grid to each fold, as `GridSearchCV` does, and then the best one."""
    x, y = trainings.rows()
    estimator = Estimator(trainings, [callback])
    fitted = []
    for width in widths:
        for fold in range(folds):
            kept = np.arange(len(x)) % folds != fold
            fitted.append(estimator.fit(x[kept], y[kept], width=width))
    fitted.append(estimator.fit(x, y, width=widths[0]))
    return [trainings.bits(model) for model, _ in fitted]


def test_a_grid_search_over_folds_has_a_run_for_each_fit(trainings, tmp_path):
    def callback(name):
        return ckptkit.CheckpointCallback(
            tmp_path / name / "{trial}", save=ckptkit.EveryNEpochs(1), export=False
        )

    expected = grid_search(trainings, callback("whole"))
    assert len({tuple(bits) for bits in expected}) == 5
    assert len(list((tmp_path / "whole").iterdir())) == 5
    # A new process begins again, and finds each training finished.
    process_registry.state.finished.clear()
    process_registry.state.trained_to.clear()
    assert grid_search(trainings, callback("whole")) == expected
    runs = list((tmp_path / "whole").iterdir())
    assert len(runs) == 5
    assert [len(journal_events(run, "finished")) for run in runs] == [1] * 5


def test_equal_trainings_of_one_process_are_numbered(trainings, tmp_path):
    callback = ckptkit.CheckpointCallback(tmp_path / "{trial}", export=False)
    x, y = trainings.rows()
    for _ in range(3):
        trainings.model().fit(x, y, verbose=0, callbacks=[copy.deepcopy(callback)])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]


def test_what_is_trained_decides_the_name(trainings, tmp_path):
    x, y = trainings.rows()

    def named(made=None, rows=(x, y), **options):
        process_registry.state.finished.clear()
        process_registry.state.trained_to.clear()
        before = set(tmp_path.iterdir())
        callback = ckptkit.CheckpointCallback(tmp_path / "{trial}", export=False)
        (made or trainings.model()).fit(*rows, verbose=0, callbacks=[callback], **options)
        return len(set(tmp_path.iterdir()) - before)

    assert named() == 1
    assert named() == 0
    assert named(trainings.model(seed=9)) == 0, "initial weights are none of it"
    assert named(epochs=2) == 0, "more epochs continue a run"
    assert named(trainings.model(width=4)) == 1
    assert named(trainings.model(trainings.keras.optimizers.Adam(0.5))) == 1
    assert named(trainings.model(loss="mae")) == 1
    assert named(batch_size=4) == 1
    assert named(rows=(x[:20], y[:20])) == 1
    assert named(rows=(trainings.data(),)) == 1


def test_a_trial_with_another_setting_is_refused_in_a_plain_directory(trainings, run):
    """A tuner that is killed after its first trial and started again comes with the second one."""

    def made(rate):
        model = trainings.keras.Sequential(
            [trainings.keras.layers.Dropout(rate), trainings.keras.layers.Dense(1)]
        )
        model.compile("adam", "mse")
        return model

    trainings.fit(run, made(0.1))
    process_registry.state.finished.clear()
    second = made(0.5)
    with pytest.raises(ckptkit.ConfigError, match=r"dropout\.rate: the run has 0\.1.* says 0\.5"):
        trainings.fit(run, second)


def test_a_csv_file_of_a_trial_is_continued(trainings, tmp_path):
    def train(*more, epochs=2):
        callback = ckptkit.CheckpointCallback(
            tmp_path / "runs" / "{trial}", save=ckptkit.EveryNSteps(1), export=False
        )
        log = trainings.keras.callbacks.CSVLogger(tmp_path / "log.csv")
        x, y = trainings.rows()
        process_registry.state.trained_to.clear()
        trainings.model().fit(x, y, epochs=epochs, verbose=0, callbacks=[log, *more, callback])

    train()
    process_registry.state.finished.clear()
    train(epochs=4)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2", "3"]


def test_a_loop_names_its_directories_itself(trainings, tmp_path):
    with pytest.raises(ckptkit.ConfigError, match=r"\{trial\} .* f'runs/\{name\}'"):
        ckptkit.CheckpointManager(tmp_path / "{trial}", {"model": trainings.model()})


def test_a_missing_f_of_an_f_string_is_noticed(trainings, tmp_path):
    with trainings.logged() as lines:
        ckptkit.CheckpointCallback(tmp_path / "fold-{fold}")
        ckptkit.CheckpointCallback(tmp_path / "fold-{}" / "{1}")
    assert len(lines) == 1
    assert "{fold}" in lines[0]
    assert "f-string" in lines[0]
