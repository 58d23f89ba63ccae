"""The cost of a check at the end of a `fit`, with a real checking process."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.xdist_group("exporting")

TRAIN = """
import json, sys
import keras, numpy as np
import ckptkit
from ckptkit.export import check_process, publishing
assert publishing.Checker is check_process.Checker
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
model.compile("adam", "mse")
x, y = np.random.rand(16, 4), np.random.rand(16, 1)
model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[
    ckptkit.CheckpointCallback(
        sys.argv[1], background=False, export=ckptkit.ExportSpec(errors="raise"))])
"""


@pytest.mark.long
def test_a_fit_ends_with_a_real_check(fork_server, tmp_path, capsys):
    import ckptkit

    run = tmp_path / "run"
    fork_server.run(TRAIN, run, env={"CUDA_VISIBLE_DEVICES": ""}).check()
    (event,) = [each for each in ckptkit.open_run(run).journal if each.event == "exported"]
    assert event.proof == "equal bits"
    (version,) = (run / "export").iterdir()
    assert json.loads((version / "EXPORT.json").read_bytes())["source"]["step"] == event.step
    assert 0 < event.check_secs <= event.secs
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-I", "-c", "import tensorflow"], check=True, capture_output=True
    )
    imported = time.monotonic() - began
    with capsys.disabled():
        print(
            f"\nthe check took {event.check_secs:.1f} s of the export's {event.secs:.1f} s; a "
            f"TensorFlow import takes {imported:.1f} s"
        )
