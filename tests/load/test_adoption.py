"""Runs of other systems are continued: killed there, adopted here, with the same result."""

from __future__ import annotations

import signal

import pytest

from tests.load.adoption_programs import EPOCHS, continue_here, continue_there, files

PROGRAMS = "tests.load.adoption_programs:"
BATCHES = 4
"""The batches of an epoch."""

SYSTEMS = {
    "manager": "tf.train.Checkpoint",
    "backup": "keras.callbacks.BackupAndRestore",
    "model checkpoint": "keras.callbacks.ModelCheckpoint",
    "weights checkpoint": "keras.callbacks.ModelCheckpoint",
    "orbax": "keras.callbacks.OrbaxCheckpoint",
}
SHORT = ["backup"]


def killed(start, *arguments) -> None:
    assert start(*arguments).wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "system",
    [each if each in SHORT else pytest.param(each, marks=pytest.mark.long) for each in SYSTEMS],
)
def test_a_killed_run_is_adopted_killed_again_and_finished(tf_call, tmp_path, seed, system):
    if system == "orbax":
        pytest.importorskip("orbax.checkpoint")
    source, run = tmp_path / "theirs", str(tmp_path / "runs" / "ours")
    killed(tf_call, PROGRAMS + "train", system, str(source), seed, 3)
    before = files(str(source))
    assert before
    # Ours first: it only reads, and theirs writes.
    killed(tf_call, PROGRAMS + "continue_here", str(source), run, seed, 5)
    found = continue_here(str(source), run, seed)
    assert files(str(source)) == before, "the source is never changed"
    assert found["bits"] == continue_there(system, str(source), seed, 3)
    (adopted,) = found["adopted"]
    assert adopted["system"] == SYSTEMS[system]
    assert (adopted["step"], adopted["epoch"] or 3) == (3 * BATCHES, 3)
    assert adopted["matched"] == {"weights": 8, "optimizer": 14}
    assert found["steps"][-1] == EPOCHS * BATCHES
    assert found["epochs"] == [3, 4, 5], "the epochs since it was adopted"
