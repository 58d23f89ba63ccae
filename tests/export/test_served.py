"""A foreign consumer: TensorFlow's own command runs the exported signature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.xdist_group("exporting")


def test_saved_model_cli_runs_it(fork_server, tmp_path):
    process = fork_server.call(
        "tests.export.kinds:export_one",
        "sequential",
        str(tmp_path / "base"),
        3,
        env={"CUDA_VISIBLE_DEVICES": ""},
    )
    said = process.check().result
    np.save(tmp_path / "x.npy", np.array(said["inputs"], "float32"))
    command = [
        Path(sys.executable).with_name("saved_model_cli"),
        "run",
        "--dir",
        said["path"],
        "--tag_set",
        "serve",
        "--signature_def",
        "serving_default",
        "--inputs",
        f"inputs={tmp_path}/x.npy",
        "--outdir",
        tmp_path / "out",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out" / "output_0.npy") == pytest.approx(
        np.array(said["outputs"], "float32"), abs=1e-6
    )
