"""Without `save=`, a training that is killed early loses little: the first save comes soon."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.keras.conftest import journal_events
from tests.support.polling import until
from tests.support.processes import ROOT

DIGITS = ROOT / "scripts" / "train_digits.py"
FOREVER = ("--epochs", 100_000, "--save-steps", 0)
LOST_SECS = 15
"""What README promises for a kill after the first 20 seconds."""


def saves(run):
    # A start first makes the directories, and a moment later the journal.
    return journal_events(run, "saved") if any(run.glob("journal/*.jsonl")) else []


def test_a_kill_soon_after_the_start_resumes_from_the_first_save(tf_process, tmp_path, seed):
    run = tmp_path / "run"
    killed = tf_process(DIGITS, "--run", run, *FOREVER)
    until(lambda: saves(run), 120, process=killed)
    time.sleep(random.Random(seed).uniform(0, 1.5))
    assert killed.kill() == -signal.SIGKILL
    newest = saves(run)[-1]
    assert saves(run)[0].trigger == "adaptive: the first after 5 s"

    again = tf_process(DIGITS, "--run", run, *FOREVER)
    until(lambda: journal_events(run, "restored"), 120)
    assert again.kill() == -signal.SIGKILL
    (restored,) = journal_events(run, "restored")
    assert restored.step == newest.step > 0


@pytest.mark.long
@pytest.mark.parametrize("attempt", range(3))
def test_a_kill_at_a_random_moment_loses_seconds(tf_process, tmp_path, seed, attempt):
    """Needs a machine that is not overloaded: a save costs more time there, so it comes later."""
    run = tmp_path / "run"
    killed = tf_process(DIGITS, "--run", run, *FOREVER)
    until(lambda: any(run.glob("journal/*.jsonl")), 120)
    time.sleep(random.Random(seed).uniform(20, 60))
    assert killed.kill() == -signal.SIGKILL
    ended = time.time()
    newest = saves(run)[-1]
    assert ended - newest.time <= LOST_SECS, [(save.time, save.trigger) for save in saves(run)]
