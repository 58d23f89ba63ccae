"""A script without a seed that calls `ckptkit.seeded`: killed and resumed, it ends with the bits of
an uninterrupted training that has the same kept seed.
"""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.campaigns.exact.seeded_program import STEPS
from tests.support.journals import events_of

PROGRAM = Path(__file__).with_name("seeded_program.py")


def bits(path: Path) -> dict[str, bytes]:
    with np.load(path) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


@pytest.mark.parametrize("kind", ["fit", "loop"])
def test_an_unseeded_script_resumes_exactly(
    kind: str, tf_process: Any, tmp_path: Path, seed: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    after = random.Random(seed).randrange(2, STEPS)  # after the first save
    tf_process(PROGRAM, whole, kind, 0, tmp_path / "whole.npz").check()
    broken.mkdir()
    shutil.copytree(whole / "seed", broken / "seed")
    killed = tf_process(PROGRAM, broken, kind, after, tmp_path / "no.npz")
    assert killed.wait() == -signal.SIGKILL
    tf_process(PROGRAM, broken, kind, 0, tmp_path / "broken.npz").check()
    assert len(events_of(broken, "restored")) == 1
    assert bits(tmp_path / "broken.npz") == bits(tmp_path / "whole.npz")


def test_a_run_that_began_without_a_seed_gets_one(tf_process: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert tf_process(PROGRAM, run, "unseeded", 3, tmp_path / "no.npz").wait() == -signal.SIGKILL
    assert not (run / "seed").exists()
    resumed = tf_process(PROGRAM, run, "fit", 3, tmp_path / "no.npz")
    assert resumed.wait() == -signal.SIGKILL
    assert "its earlier attempts were not seeded by ckptkit.seeded" in resumed.stderr
    kept = (run / "seed" / "seed.json").read_bytes()
    last = tf_process(PROGRAM, run, "fit", 0, tmp_path / "yes.npz").check()
    assert "were not seeded" not in last.stderr
    assert (run / "seed" / "seed.json").read_bytes() == kept
    assert len(events_of(run, "restored")) == 2
