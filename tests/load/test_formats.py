"""Whose directory it is: a run of ours is told from other programs' directories that look a little
like one.
"""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.export.publishing import export
from ckptkit.exports.export_record import ExportSource
from ckptkit.load.formats import Format, recognise
from tests.load.conftest import bits, network, saved_in


def served_by_others(path):
    network(seed=1).export(path, verbose=False)


def checkpointed_by_others(path):
    tf.train.CheckpointManager(
        tf.train.Checkpoint(net=network(seed=1)), str(path), max_to_keep=2
    ).save()


def published_by_others(path):
    network(seed=1).export(path / "3", verbose=False)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (served_by_others, Format.SAVED_MODEL),
        (checkpointed_by_others, Format.CHECKPOINT),
        (published_by_others, Format.VERSIONS),
    ],
)
@pytest.mark.parametrize("beside", ["checkpoints", "journal"])
def test_another_programs_directory_is_no_run(tmp_path, make, expected, beside):
    """It has checkpoints of its own below it, or notes."""
    training = tmp_path / "training"
    make(training)
    (training / beside / "2026-01-01").mkdir(parents=True)
    tf.train.Checkpoint(net=network()).write(str(training / beside / "ckpt-7"))
    (training / beside / "notes.jsonl").write_text("{}\n")
    found = recognise(training)
    assert found.format is expected
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="is not a run directory"):
        ckptkit.open_run(training)
    model = network()
    ckptkit.load_weights(model, training)
    assert bits(model) == bits(network(seed=1))
    if expected is not Format.CHECKPOINT:
        assert "serve" in ckptkit.load_exported(training).signatures


@pytest.mark.parametrize("lost", [None, "journal", "checkpoints"])
def test_a_run_is_one_also_with_another_programs_model_in_it(tmp_path, lost):
    run = saved_in("run", network(), tmp_path)
    served_by_others(run / "served")
    for path in (run / "served").iterdir():
        path.rename(run / path.name)
    if lost is not None:
        shutil.rmtree(run / lost)
    assert recognise(run).format is Format.RUN
    assert len(ckptkit.open_run(run).checkpoints) == (lost != "checkpoints")


def test_a_checkpoint_that_the_run_has_given_up_is_not_another_one_of_its_name(tmp_path):
    checkpoint = saved_in("checkpoint of a run", network(), tmp_path)
    assert recognise(checkpoint).format is Format.RUN
    run = checkpoint.parents[1]
    (run / "quarantine").mkdir()
    shutil.copytree(checkpoint, run / "quarantine" / checkpoint.name)
    found = recognise(run / "quarantine" / checkpoint.name)
    assert (found.format, found.path) == (
        Format.CHECKPOINT,
        run / "quarantine" / checkpoint.name / "ckpt-1",
    )


def test_one_checkpoint_means_what_was_exported_from_it(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    with ckptkit.CheckpointManager(
        tmp_path, {"model": model}, keep=ckptkit.KeepLatest(9)
    ) as manager:
        for step in (1, 2, 3):
            model.set_weights([np.full((1, 1), step, "float32")])
            manager.save(step)
            if step != 2:
                export(
                    model,
                    tmp_path / "export",
                    ckptkit.ExportSpec(),
                    version=10 * step,
                    source=ExportSource(step=step, checkpoint=f"ckpt-{step}-1"),
                )
    one = np.ones((1, 1), "float32")
    for step in (1, 3):
        served = ckptkit.load_exported(tmp_path / "checkpoints" / f"ckpt-{step}-1")
        assert (served.version, served(one).item()) == (10 * step, step)
    assert ckptkit.load_exported(tmp_path).version == 30
    with pytest.raises(
        ckptkit.CheckpointNotFoundError,
        match=r"from ckpt-2-1. Expected one of: 10 of ckpt-1-1, 30 of ckpt-3-1. .* --step 2",
    ):
        ckptkit.load_exported(tmp_path / "checkpoints" / "ckpt-2-1")
    with pytest.raises(ckptkit.ConfigError, match="leave it out"):
        ckptkit.load_exported(tmp_path / "checkpoints" / "ckpt-1-1", version=10)
    shutil.copytree(tmp_path / "checkpoints" / "ckpt-1-1", tmp_path / "checkpoints" / "ckpt-1-2")
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="exported from ckpt-1-2"):
        ckptkit.load_exported(tmp_path / "checkpoints" / "ckpt-1-2")
