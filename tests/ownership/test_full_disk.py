"""A disk without a free block or inode: a run on it can be started, pruned and rolled back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import NOT_PERMITTED

ROOT = Path(__file__).resolve().parents[2]

each_shortage = pytest.mark.parametrize("shortage", ["bytes", "inodes", "both"])


@pytest.fixture
def on_full_disk(tmp_path):
    def call(program: str, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.ownership.full_disk",
                program,
                str(tmp_path / "disk"),
                *arguments,
            ],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        if done.returncode == NOT_PERMITTED:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return call


@each_shortage
@pytest.mark.parametrize("claim", ["dead", "released", "silent", "released elsewhere", "none"])
def test_a_start_removes_what_a_dead_save_left(on_full_disk, shortage, claim):
    found = on_full_disk("start", shortage, claim)
    assert found["steps"] == [10, 20]
    assert found["hidden"] == []
    assert found["debris"] == []
    assert found["events"].count("attempt_started") == 2
    assert ("cleaned_up" in found["events"]) == (claim != "none")


@each_shortage
@pytest.mark.parametrize("claim", ["dead", "released", "released elsewhere"])
def test_a_prune_frees_space(on_full_disk, shortage, claim):
    found = on_full_disk("prune", shortage, claim)
    assert (found["code"], found["stderr"]) == (0, "")
    assert found["steps"] == [30]
    assert found["events"].count("taken_away") == 2
    assert found["debris"] == []


@pytest.mark.parametrize("shortage", ["bytes", "inodes"])
@pytest.mark.parametrize("claim", ["dead", "released"])
def test_a_rollback_moves_checkpoints(on_full_disk, shortage, claim):
    found = on_full_disk("rollback", shortage, claim)
    assert found["code"] == 0, found["stderr"]
    assert found["steps"] == [10]
    assert ("rolled_back" in found["events"]) == (shortage == "inodes")
    assert ("the journal does not record" in found["stderr"]) == (shortage == "bytes")


@pytest.mark.parametrize("shortage", ["bytes", "inodes"])
def test_what_belongs_to_a_running_process_stays(on_full_disk, shortage):
    found = on_full_disk("owner_is_running", shortage)
    assert len(found["refused"]) == 2
    assert found["code"] == 11
    assert found["steps"] == [10]
    assert found["hidden"] == [".writing-1"]
    assert found["claims"] == [1]


@pytest.mark.parametrize("claim", ["dead", "released", "none"])
@pytest.mark.parametrize("shortage", ["bytes", "inodes"])
def test_of_several_starts_at_once_one_owns_the_run(on_full_disk, shortage, claim):
    found = on_full_disk("race", shortage, claim, "6")
    assert (found["owners"], found["refused"]) == (1, 5)
    assert found["debris"] == []
    assert found["steps"] == [10]


@pytest.mark.parametrize("again", ["a start", "a prune between"])
def test_a_silent_owner_is_shut_out_also_if_the_first_start_found_no_space(on_full_disk, again):
    found = on_full_disk("silent_owner_stays_fenced", again)
    assert "space" in found["refused"]
    assert found["fenced"]
    assert found["steps"] == ([30] if again == "a prune between" else [10, 20, 30])
