"""Killed at every step, and without power after every step: a new process finds a whole newest
checkpoint, the old one or the new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.crash.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[3]
MEMORY = "/dev/shm"
"""Where files are made and removed fastest; a kill takes nothing away there either."""

each_scenario = pytest.mark.parametrize("name", SCENARIOS)


def campaign(kind: str, name: str, directory: Path, seeds: int = 0) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(
        dir=MEMORY if os.access(MEMORY, os.W_OK) else directory
    ) as lab:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.campaigns.crash.sweep",
                kind,
                name,
                f"{lab}/lab",
                str(seeds),
            ],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    problems = said.pop("problems")
    print(kind, name, said)
    assert not problems, f"{len(problems)} problems; the first ones:\n" + "\n".join(problems[:5])
    return said


@each_scenario
def test_killed_at_every_step(name, tmp_path):
    said = campaign("kill", name, tmp_path)
    assert said["points"] >= 2 * said["steps"] > 0


@each_scenario
def test_power_lost_after_every_step(name, tmp_path):
    said = campaign("power", name, tmp_path, seeds=4)
    assert said["moments"] == said["steps"] + 1
    assert said["outcomes"] >= 2 * said["moments"]


@pytest.mark.long
@each_scenario
def test_power_lost_after_every_step_in_many_ways(name, tmp_path):
    campaign("power", name, tmp_path, seeds=2000)


@pytest.mark.long
@each_scenario
def test_killed_at_every_step_and_power_lost_in_the_recovery(name, tmp_path):
    campaign("recovery", name, tmp_path, seeds=5)


@pytest.mark.parametrize(
    "name", ["a replacement alone", "a save that one is given up for", "a fresh start"]
)
def test_killed_after_a_rename_and_power_lost_in_the_recovery(name, tmp_path):
    """The moments that matter: a directory has two names, one on the disk and one in memory."""
    campaign("renames", name, tmp_path, seeds=5)
