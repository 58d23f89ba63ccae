"""A directory that is something else than a run is recognised by its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit.layout import RunLayout
from ckptkit.run.foreign_directory import listing, recognise

BUNDLE = ("ckpt-3.index", "ckpt-3.data-00000-of-00001")

REFUSED = {
    "one of our checkpoints": (
        "run/checkpoints/ckpt-24-3",
        ("manifest.json", "ckpt-24.index", "ckpt-24.data-00000-of-00001"),
        "is one checkpoint of a run",
        "Name the run itself: '{tmp}/run'",
    ),
    "the checkpoints of a run": (
        "run/checkpoints",
        ("checkpoint", "ckpt-24-3/manifest.json"),
        "is the directory of checkpoints of a run",
        "Name the run itself: '{tmp}/run'",
    ),
    "the journal of a run": (
        "run/journal",
        ("attempt-000001.jsonl",),
        "is the journal of a run",
        "Name the run itself: '{tmp}/run'",
    ),
    "a directory of runs": (
        "runs",
        ("a/checkpoints/x", "a/journal/x", "b/checkpoints/x", "b/journal/x"),
        "holds runs (a, b)",
        "Name one of them, or a new one: '{tmp}/runs/another'",
    ),
    "tf.train.CheckpointManager": (
        "tf",
        ("checkpoint", *BUNDLE),
        "holds checkpoints of TensorFlow (tf.train.CheckpointManager): ckpt-3.index",
        "ckptkit.load_weights(model, '{tmp}/tf/ckpt-3')",
    ),
    "tf.train.Checkpoint": ("tf", BUNDLE, "holds checkpoints of TensorFlow: ckpt-3", "another"),
    "TensorFlow's in checkpoints/": (
        "old",
        ("train.log", *(f"checkpoints/{name}" for name in BUNDLE)),
        "holds checkpoints of TensorFlow",
        "'{tmp}/old/checkpoints/ckpt-3'",
    ),
    "TensorFlow's one level below": (
        "old",
        ("train.log", *(f"deep/{name}" for name in ("checkpoint", *BUNDLE))),
        "holds checkpoints of TensorFlow: deep/ckpt-3.index",
        "ckptkit.load_weights(model, '{tmp}/old/deep/ckpt-3')",
    ),
    "a project of Keras Tuner": (
        "project",
        ("oracle.json", "tuner0.json", "trial_0/trial.json"),
        "is a project of Keras Tuner",
        "'{tmp}/runs/{{trial}}'",
    ),
    "BackupAndRestore": (
        "backup",
        ("latest.weights.h5", "training_metadata.json"),
        "holds a backup of keras.callbacks.BackupAndRestore",
        "'{tmp}/backup/latest.weights.h5'",
    ),
    "BackupAndRestore of Keras 2": ("b", ("chief/checkpoint", "chief/ckpt-1.index"), "backup", ""),
    "ModelCheckpoint, .keras": (
        "best",
        ("epoch-01.keras", "epoch-02.keras"),
        "holds saved models or weights (epoch-0",
        "ckptkit.load_weights(model, '{tmp}/best/epoch-0",
    ),
    "ModelCheckpoint, .weights.h5": ("best", ("a.weights.h5",), "a.weights.h5", "load_weights"),
    "ModelCheckpoint, .h5": ("best", ("a.h5", "notes.txt"), "holds saved models", "load_weights"),
    "weights of another library": ("best", ("model.safetensors",), "saved models", "another"),
    "a SavedModel": (
        "model",
        ("saved_model.pb", "variables/variables.index"),
        "is a SavedModel",
        "ckptkit.load_weights(model, '{tmp}/model')",
    ),
    "Orbax, a directory of steps": (
        "orbax",
        ("10/_CHECKPOINT_METADATA", "10/default/_METADATA", "20/_CHECKPOINT_METADATA"),
        "holds checkpoints of Orbax",
        "another directory",
    ),
    "Orbax, one step": ("orbax", ("_CHECKPOINT_METADATA", "d/x"), "Orbax", "another directory"),
    "Orbax, killed": ("o", ("10.orbax-checkpoint-tmp-1/x",), "Orbax", "another directory"),
    "somebody's data": (
        "data",
        ("images/1.png", "images/2.png", "notes.txt"),
        "already holds other files (images)",
        "Name a directory in it: '{tmp}/data/run'",
    ),
    "somebody's archives": ("data", ("data.tar.gz", "labels.npy"), "(data.tar.gz, labels", "/run'"),
    "somebody's documents": ("docs", ("a.txt", "sub/b.csv"), "already holds other files (sub)", ""),
    "a repository": ("project", (".git/HEAD", "train.py"), "is a repository of git", "project/run"),
}

ALLOWED = {
    "empty": (),
    "a config, and the log of a scheduler": ("config.yaml", "slurm-12.out", "train.log"),
    "hidden files": (".gitignore", ".hydra/config.yaml", ".nfs0001"),
    "a new file system": ("lost+found/",),
    "TensorBoard's events": ("events.out.tfevents.1.host", "tensorboard/train/events.out"),
    "directories that TensorBoard's callback makes": (
        "train/events.out.tfevents.1.host",
        "train/plugins/x",
        "validation/",
    ),
    "an empty directory": ("figures/",),
    "the script itself": ("train.py",),
    "a launcher before the first attempt": ("journal/launcher-a.jsonl", "control/x", "log/x"),
    "an attempt that was killed at once": ("lock/000001/owner", "checkpoints/.fence-1", "journal/"),
}


def made(tmp_path: Path, name: str, files: tuple[str, ...]) -> RunLayout:
    layout = RunLayout(tmp_path / name)
    layout.root.mkdir(parents=True)
    for file in files:
        path = layout.root / file
        if file.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return layout


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_something_else_is_refused(tmp_path, name):
    directory, files, what, way_on = REFUSED[name]
    layout = made(tmp_path, directory, files)
    found = recognise(layout.root, listing(layout))
    assert found is not None
    assert what in found.what
    assert way_on.format(tmp=tmp_path) in found.way_on


@pytest.mark.parametrize("name", ALLOWED)
def test_what_may_be_there_before_training_is_no_obstacle(tmp_path, name):
    layout = made(tmp_path, "run", ALLOWED[name])
    assert recognise(layout.root, listing(layout)) is None


def test_a_home_directory_is_refused(tmp_path):
    assert recognise(tmp_path, {}, home=tmp_path) is not None
    assert recognise(Path("/"), {}) is not None
    assert recognise(tmp_path / "run", {}, home=tmp_path) is None
