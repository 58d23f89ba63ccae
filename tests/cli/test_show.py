"""`ckptkit show`: one checkpoint, chosen by step, latest or best."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from ckptkit.run.data_anchor_entry import AnchorEntry


def shown(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_everything_of_a_checkpoint(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(
        100,
        epoch=1,
        batch=10,
        metrics={"loss": 0.5, "val_loss": 0.25},
        final=True,
        hyperparameters={"batch_size": 8, "clipnorm": None, "learning_rate": 0.0010000000474974513},
    )
    result = ckptkit("show", "run")
    assert result.returncode == 0
    assert result.stderr == ""
    text = result.stdout
    assert text.startswith("ckpt-100-1: step 100 (epoch 1, batch 10), the end of training\n")
    words = [" ".join(line.split()) for line in text.splitlines()]
    assert "because every 100 steps" in words
    assert "metrics val_loss 0.25 loss 0.5" in words
    assert "settings batch_size=8 learning_rate=0.001" in words
    assert "versions tensorflow 2.21.0" in words
    assert "files: 2 files, 1.21 kB" in words
    assert any(line.startswith("ckpt-100.index 8 B xxh3_128:") for line in words)
    assert "model Functional weights 2 880 B" in words
    assert "model Functional optimizer 1 8 B" in words
    assert "sampler Sampler state 1 -" in words
    assert "optimizer of model (optimizer): Adam" in words
    assert "reader = tf.train.load_checkpoint('run/checkpoints/ckpt-100-1/ckpt-100')" in words
    assert "reader.get_tensor('model/weights/0/.ATTRIBUTES/VARIABLE_VALUE')" in words


def test_what_is_drawn_again(dummy_run, ckptkit):
    dummy_run.attempt()
    anchor = AnchorEntry(
        name="data-60-1-0", key="fit/data/0", parts=("_STATE",), batches=60, since=40
    )
    dummy_run.save(100, epoch=0, batch=100, anchors=(anchor,))
    result = ckptkit("show", "run")
    words = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert (
        "data fit/data/0: its state after 60 batches, and 40 more to draw again (data-60-1-0)"
        in words
    )
    assert shown(ckptkit("show", "run", "--json"))["anchors"] == [
        {"name": "data-60-1-0", "key": "fit/data/0", "batches": 60, "since": 40}
    ]


def test_json_form(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100, epoch=1, saved_at=1.5e9, metrics={"loss": 0.5}, total=3)
    result = shown(ckptkit("show", "run", "--json"))
    files = result.pop("files")
    assert result == {
        "version": 1,
        "run": "run",
        "name": "ckpt-100-1",
        "path": "run/checkpoints/ckpt-100-1",
        "prefix": "run/checkpoints/ckpt-100-1/ckpt-100",
        "step": 100,
        "epoch": 1,
        "batch": 0,
        "attempt": 1,
        "saved_at": 1.5e9,
        "trigger": "every 100 steps",
        "final": False,
        "total": 3,
        "size_bytes": 1208,
        "metrics": {"loss": 0.5},
        "hyperparameters": {},
        "versions": {"tensorflow": "2.21.0"},
        "format_version": 2,
        "anchors": [],
        "states": [
            {
                "name": "model",
                "class_name": "Functional",
                "optimizers": {"optimizer": "Adam"},
                "roles": [
                    {"role": "weights", "tensors": 2, "size_bytes": 880},
                    {"role": "optimizer", "tensors": 1, "size_bytes": 8},
                ],
            },
            {
                "name": "sampler",
                "class_name": "Sampler",
                "optimizers": {},
                "roles": [{"role": "state", "tensors": 1, "size_bytes": 0}],
            },
        ],
    }
    assert [file["name"] for file in files] == ["ckpt-100.data-00000-of-00001", "ckpt-100.index"]
    assert [file["size_bytes"] for file in files] == [1200, 8]
    assert all(file["digest"].startswith("xxh3_128:") for file in files)


def test_by_step_latest_and_best(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100, metrics={"val_loss": 0.5, "loss": 0.1})
    dummy_run.save(200, metrics={"val_loss": 0.25, "loss": 0.2})
    dummy_run.save(300, metrics={"val_loss": float("nan"), "loss": 0.0})
    assert shown(ckptkit("show", "run", "--json"))["step"] == 300
    assert shown(ckptkit("show", "run", "latest", "--json"))["step"] == 300
    assert shown(ckptkit("show", "run", "best", "--json"))["step"] == 200
    assert shown(ckptkit("show", "run", "100", "--json"))["step"] == 100
    assert shown(ckptkit("show", "run", "0100", "--json"))["step"] == 100


def test_the_highest_attempt_of_a_step_counts(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100)
    dummy_run.save(200)
    dummy_run.attempt()
    dummy_run.save(100)
    assert shown(ckptkit("show", "run", "100", "--json"))["attempt"] == 2
    assert (
        shown(ckptkit("show", "run", "latest", "--json"))["name"] == "ckpt-100-2"
    )  # a later attempt has seen the earlier ones


@pytest.mark.parametrize("which", ["200", "latest"])
def test_a_damaged_checkpoint_is_never_replaced_by_another_one(dummy_run, ckptkit, which):
    dummy_run.attempt()
    dummy_run.save(100)
    (dummy_run.save(200) / "manifest.json").write_text("{}")
    for form in ([], ["--json"]):
        result = ckptkit("show", "run", which, *form)
        assert result.returncode == 3
        assert result.stdout == ""
        assert result.stderr.startswith("ckptkit: ckpt-200-1 is damaged: ")
        assert result.stderr.endswith("The newest good one: ckptkit show run 100\n")
        assert result.stderr.count("\n") == 1


def test_damage_beside_the_manifest_is_met_too(dummy_run, ckptkit):
    dummy_run.attempt()
    (dummy_run.save(100) / "ckpt-100.index").unlink()
    result = ckptkit("show", "run")
    assert result.returncode == 3
    assert "ckpt-100.index is missing" in result.stderr
    assert "No other checkpoint of this run is good." in result.stderr


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("300", "no checkpoint of step 300. Expected one of: 100,"),
        ("best", "finite val_loss or loss"),
    ],
)
def test_what_is_not_there_is_an_error(dummy_run, ckptkit, which, said):
    dummy_run.attempt()
    dummy_run.save(100)
    result = ckptkit("show", "run", which)
    assert result.returncode == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_without_checkpoints(dummy_run, ckptkit):
    dummy_run.attempt()
    result = ckptkit("show", "run")
    assert result.returncode == 1
    assert "contains no readable checkpoint" in result.stderr


@pytest.mark.parametrize("which", ["newest", "-1", "1.5", "9" * 30, "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_name_that_cannot_be_right_is_a_usage_error(dummy_run, ckptkit, which):
    dummy_run.attempt()
    dummy_run.save(100)
    result = ckptkit("show", "run", "--", which)
    assert result.returncode == 2
    assert "'best' or 'best:METRIC'" in result.stderr
