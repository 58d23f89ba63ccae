"""A full disk, and a damaged checkpoint, in real training processes."""

from __future__ import annotations

import json

import pytest

import ckptkit
from tests.support.machine import NOT_PERMITTED

TRAINING = "tests.session.disk_and_damage_programs:"


@pytest.mark.parametrize(("background", "number"), [(True, "EDQUOT"), (False, "ESTALE")])
def test_a_disk_that_is_full_or_away_for_a_while_costs_saves_and_no_training(
    tf_call, tmp_path, background, number
):
    said = tf_call(TRAINING + "periodic", str(tmp_path / "run"), background, number).check().result
    assert said["trained"] == [1, 2, 3, 4, 5, 6]
    assert said["failed"] == [3, 4, 5]
    assert said["steps"] == [1, 2, 6]
    assert said["debris"] == []
    assert said["ended"] == ["finished"]
    assert sum("NOT SAVED at" in line for line in said["said"]) == len(said["failed"])


def test_a_disk_that_is_away_for_ten_minutes_ends_training(tf_call, tmp_path):
    said = tf_call(TRAINING + "away", str(tmp_path / "run")).check().result
    assert said["error"]["kind"] == "BackgroundSaveError"
    assert "Input/output error" in said["error"]["text"]
    # Saved each 300 s: the failures of steps 3 and 4 are warnings, and that of step 5 is not.
    assert said["failed"] == [3, 4, 5]
    assert sum("NOT SAVED at" in line for line in said["said"]) == 2


def test_a_first_save_that_fails_is_not_the_last_one(tf_call, tmp_path):
    said = tf_call(TRAINING + "refused_at_first", str(tmp_path / "run")).check().result
    assert said["refused"] == "StorageError"
    assert said["steps"] == [3]


def test_a_journal_that_cannot_be_written_costs_its_lines_only(tf_call, tmp_path):
    said = tf_call(TRAINING + "without_a_journal", str(tmp_path / "run")).check().result
    assert said["steps"] == [3, 4]
    assert said["ended"] == []
    assert sum("to the journal" in line for line in said["said"]) == 1, "said once"


def test_a_start_that_cannot_write_its_journal_trains(tf_call, tmp_path):
    """Values are assigned by then, so a line that finds no space must not end the training."""
    said = tf_call(TRAINING + "resumed_without_a_journal", str(tmp_path / "run")).check().result
    assert {"restored", "hyperparameter_changed", "training_started", "saved"} <= set(said["lost"])
    assert said["trained"] == [[1, 2], [3, 4]]
    assert said["rates"] == [0.5, 0.25]
    assert said["steps"][-1] == 4
    assert said["ended"] == ["stopped"], "that of the first start"
    assert sum("to the journal" in line for line in said["said"]) == 1


@pytest.mark.parametrize("how", ["end", "stop"])
def test_where_it_is_full_at_the_end_that_is_an_error(tf_call, tmp_path, how):
    said = tf_call(TRAINING + "full_to_the_end", str(tmp_path / "run"), how).check().result
    assert said["error"]["kind"] in ("BackgroundSaveError", "StorageError")
    assert "space" in said["error"]["text"]
    assert said["steps"] == [1]
    assert said["debris"] == []


@pytest.mark.parametrize("how", ["close", "stop"])
def test_what_was_refused_is_saved_when_the_run_is_left(tf_call, tmp_path, how):
    """At the same position, where a save was made already as far as the save policy knows."""
    said = (
        tf_call(TRAINING + "left_after_a_refused_save", str(tmp_path / "run"), how).check().result
    )
    assert said["saved"]
    assert [error["kind"] for error in said["waited"]] == ["BackgroundSaveError"] * 2, (
        "nothing is confirmed that is not there"
    )
    assert (said["step"], said["value"]) == (5, 7.0)
    assert said["error"] == ({"kind": "Preempted", "text": "75"} if how == "stop" else None)
    assert said["debris"] == []


def test_what_wait_until_finished_confirms(tf_call, tmp_path):
    said = tf_call(TRAINING + "confirmed", str(tmp_path / "run")).check().result
    assert "The newest save, at step 1" in said["first"]["text"]
    assert said["second"] is None
    assert said["third"]["kind"] == "BackgroundSaveError"
    assert 2 in said["steps"]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_real_disk_that_fills_up_in_fit(tf_call, tmp_path, keep):
    """Where one checkpoint is kept, nothing can be taken away for the next one before that is
    there; where two are, the older one can.
    """
    process = tf_call(TRAINING + "fit_on_a_small_disk", str(tmp_path / "run"), keep)
    if process.wait() == NOT_PERMITTED:
        pytest.skip("may not mount")
    said = process.check().result
    assert said["batches"] == 24
    assert len(said["steps"]) == keep
    assert said["steps"][-1] == 24
    assert said["debris"] == []
    assert any("NOT SAVED at" in line for line in said["said"]) == (keep == 1)
    if keep == 2:
        assert said["short"] >= 3
        assert not any("trying again" in line for line in said["said"]), (
            "room was made before the disk refused anything"
        )
    assert ckptkit.open_run(tmp_path / "copy").find("latest").step == 24


@pytest.mark.parametrize("how", ["full", "auto", "quick"])
def test_a_flipped_bit_is_never_restored(tf_call, tmp_path, how):
    """Without a digest, TensorFlow finds it when it reads the tensor. Nothing has been assigned
    by then, and the digests tell which file it is.
    """
    said = tf_call(TRAINING + "flipped", str(tmp_path / "run"), how).check().result
    assert said["value"] == [1, 1.0, 1.0]
    assert said["quarantine"] == ["ckpt-2-1", "ckpt-2-1.json"]
    (reason,) = map(json.loads, said["reasons"])
    assert (reason["checkpoint"], reason["damage"], reason["attempt"]) == ("ckpt-2-1", "digest", 2)
    assert ".data-" in reason["file"]


def test_a_flipped_bit_that_fit_meets_on_its_way(tf_call, tmp_path):
    """A quick look does not find it; by the time TensorFlow does, `fit` is on its way, and the next
    one goes on from the checkpoint before.
    """

    def fit(epochs):
        return (
            tf_call(TRAINING + "fit_with_a_quick_look", str(tmp_path / "run"), epochs)
            .check()
            .result
        )

    assert fit(2)["steps"] == [2, 4, 6, 8]
    (path,) = tmp_path.glob("run/checkpoints/ckpt-8-1/*.data-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    said = fit(3)
    assert said["error"]["kind"] == "CorruptCheckpointError"
    assert "Start again" in said["error"]["text"]
    assert said["steps"] == [2, 4, 6]
    said = fit(3)
    assert said["error"] is None
    assert said["steps"] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("poisoned", [False, True])
def test_a_run_that_was_rolled_back_goes_on_from_there(tf_call, tmp_path, poisoned):
    """Also from numbers that are not finite, which a start after a divergence would pass over:
    somebody has said so.
    """
    assert tf_call(TRAINING + "rolled_back", str(tmp_path / "run"), poisoned).check().result == [
        0,
        2,
        2.0,
        [1, 2],
    ]


def test_a_depth_that_there_is_not(tf_call, tmp_path):
    said = tf_call(TRAINING + "depths", str(tmp_path / "run"), ["fast", True, 1]).check().result
    assert [error["kind"] for error in said] == ["ConfigError"] * 3
    assert all(
        "verify says how thoroughly" in error["text"] and "Received" in error["text"]
        for error in said
    )
