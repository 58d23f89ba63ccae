"""A program changes its working directory after it has named its paths."""

from __future__ import annotations

import copy
import pickle

import ckptkit
from ckptkit.export.export_spec import as_spec


def test_paths_of_an_export_are_absolute_as_soon_as_they_are_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELS", "models")
    specs = [
        ckptkit.ExportSpec(directory="models"),
        ckptkit.ExportSpec(directory="$MODELS"),
        as_spec("models"),
    ]
    monkeypatch.chdir("/")
    assert [spec.directory for spec in specs] == [tmp_path / "models"] * 3


def test_a_run_that_was_opened_is_found_again(trainings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainings.fit("run", epochs=1)
    run = ckptkit.open_run("run")
    monkeypatch.chdir("/")
    assert run.find("latest").manifest.epoch == 1


def test_a_fit_after_a_change_of_directory_writes_where_its_callback_was_made(
    trainings, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    callback = ckptkit.CheckpointCallback("run", export="models", tensorboard="logs")
    copies = [callback, copy.copy(callback), pickle.loads(pickle.dumps(callback))]
    monkeypatch.chdir(tmp_path / "elsewhere")
    made = trainings.model()
    for epochs, each in enumerate(copies, start=1):
        trainings.fit(each, made, epochs=epochs)
    assert [*(tmp_path / "elsewhere").iterdir()] == []
    assert ckptkit.open_run(tmp_path / "run").find("latest").manifest.epoch == 3
    assert (tmp_path / "models").is_dir()
