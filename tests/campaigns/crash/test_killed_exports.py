"""A real export that is killed at its n-th operation: the old version is served, or the new one
whole, and nothing of it stays for long.
"""

from __future__ import annotations

import random
import shutil

import psutil
import pytest

from tests.support.polling import until

PROGRAM = "tests.campaigns.crash.export_program"
GONE_SECS = 120.0
"""No promise: it imports TensorFlow before it looks whether somebody is still there."""


@pytest.mark.parametrize(
    "points", [1, pytest.param(None, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_killed_at_a_step(points, fork_server, tmp_path):
    before = tmp_path / "before"
    fork_server.call(f"{PROGRAM}:export", str(before), 20).check()
    shutil.copytree(before / "20", before / "10")
    shutil.copytree(before, tmp_path / "whole")
    said = fork_server.call(f"{PROGRAM}:export", str(tmp_path / "whole"), 30).check().result
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {"20", "30"}, (
        "what is killed below removes an older version, too"
    )
    steps = range(1, said["steps"] + 1)
    chosen = list(steps) if points is None else sorted(random.SystemRandom().sample(steps, points))
    print(f"killed before {chosen} of {said}")
    for number in chosen:
        base, work = tmp_path / f"killed-{number}", tmp_path / f"work-{number}"
        shutil.copytree(before, base)
        work.mkdir()
        killed = fork_server.call(f"{PROGRAM}:export", str(base), 30, number, str(work))
        killed.check(code=-9)
        newest = 30 if number > said["visible"] else 20
        after = fork_server.call(f"{PROGRAM}:look_and_go_on", str(base), 40).check().result
        assert (after["version"], after["value"]) == (newest, newest), (
            f"killed before step {number}"
        )
        assert after["left"] == [str(newest), "40"], f"killed before step {number}"
        gone(str(work))
        shutil.rmtree(base)


def gone(work: str) -> None:
    """Waits until no process is left that was given something in this directory."""
    until(
        lambda: (
            not [
                each
                for each in psutil.process_iter(["cmdline"])
                if any(part.startswith(work) for part in each.info["cmdline"] or [])
            ]
        ),
        GONE_SECS,
    )
