"""Both examples in `scripts/`, killed five times at random, end with the bits of the same training
without interruptions.
"""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import events_of
from tests.support.processes import ROOT

KILLS = 5
PROGRAMS = {"train_digits.py": ["--verbose", 0], "train_digits_loop.py": []}


@pytest.mark.long
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_that_is_killed_five_times(
    name: str, tf_process: Any, seed: int, tmp_path: Path
) -> None:
    drawn = random.Random(seed)
    script, options = ROOT / "scripts" / name, PROGRAMS[name]
    started = time.monotonic()
    whole = tf_process(script, "--run", tmp_path / "whole", *options, cwd=tmp_path).check(
        timeout=300
    )
    secs = time.monotonic() - started
    run = tmp_path / "killed"
    for _ in range(KILLS):
        process = tf_process(script, "--run", run, *options, cwd=tmp_path)
        time.sleep(drawn.uniform(0.1, secs / 3))
        if process.poll() is None:
            assert process.kill() == -signal.SIGKILL
    again = tf_process(script, "--run", run, *options, cwd=tmp_path).check(timeout=300)
    digests = [
        re.findall(r"SHA-256 of all variables: (\w{64})", process.stdout)
        for process in (whole, again)
    ]
    assert len(digests[0]) == 1
    assert digests[0] == digests[1]
    steps = [event.step for event in events_of(run, "restored")]
    print(f"resumed from steps {steps}")
