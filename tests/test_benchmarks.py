"""The benchmark of the position in data runs through, and prints a figure for everything.

Its figures depend on the machine, so none is asserted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT


@pytest.mark.long
def test_data_position(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "scripts/benchmarks/data_position.py",
            "--quick",
            "--json",
            tmp_path / "figures.json",
            "--directory",
            tmp_path,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    for way in ("fit", "loop"):
        saves = figures["saves"][f"100x1 {way}"]
        assert saves["ckptkit"]["bytes"] > 3e6
        assert saves["tf"]["bytes"] > 3e6
        assert saves["ckptkit"]["stall_p50_secs"] > 0
        assert saves["anchor"]["stall_p50_secs"] > 0
        for part, name in (("resume", "100x1"), ("stages", "take")):
            assert figures[part][f"{name} {way}"].keys() >= {"1", "3", "start"}
    assert figures["disk"]["two"]["anchors"] == 2
    assert figures["disk"]["AdaptiveAnchors"]["anchors"] == 0
    # It leaves nothing behind.
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
