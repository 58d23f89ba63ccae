"""Both examples in `scripts/` are killed once, and end as if nothing had happened."""

from __future__ import annotations

import re
import signal

import pytest

import ckptkit
from tests.keras.conftest import journal_events
from tests.support.processes import ROOT
from tests.support.spread import spread

PROGRAMS = {
    # What says that it has gone on after a save; the steps of the whole run; what it prints at its
    # end.
    "train_digits.py": (
        ["--epochs", 3, "--batch-size", 50, "--verbose", 1],
        r"Epoch 2/3[^E]*/30",
        90,
        r"accuracy on 297 held-out digits: \S+",
    ),
    "train_digits_loop.py": (
        ["--steps", 900],
        r"step 600: ",
        900,
        r"SHA-256 of all variables: \w{64}",
    ),
}


@pytest.mark.parametrize("name", spread(list(PROGRAMS)))
def test_an_example_that_is_killed(tf_process, tmp_path, name):
    options, on_its_way, steps, at_the_end = PROGRAMS[name]
    script = ROOT / "scripts" / name
    whole = tf_process(script, "--run", tmp_path / "whole", *options)
    killed = tf_process(script, "--run", tmp_path / "killed", *options)
    killed.wait_for_output(on_its_way)
    assert killed.kill() == -signal.SIGKILL
    again = tf_process(script, "--run", tmp_path / "killed", *options).check()
    (expected,) = re.findall(at_the_end, whole.check().stdout)
    assert re.findall(at_the_end, again.stdout) == [expected]

    run = tmp_path / "killed"
    (restored,) = journal_events(run, "restored")
    assert 0 < restored.step < steps
    assert [event.step for event in journal_events(run, "finished")] == [steps]
    assert ckptkit.open_run(run).find("latest").manifest.final
    assert len([path for path in (run / "export").iterdir() if path.name.isdecimal()]) == 1


def test_ckptkit_takes_four_lines_of_the_loop():
    text = (ROOT / "scripts" / "train_digits_loop.py").read_text()
    lines = [line.strip() for line in text.splitlines() if re.search(r"ckptkit\.|manager", line)]
    assert len(lines) <= 4, lines
