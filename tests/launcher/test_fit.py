"""The launcher over a real training: the digits example, killed, orphaned, and brought to its end
with the same bits.
"""

from __future__ import annotations

import os
import re
import signal
import sys

import psutil
import pytest

import ckptkit
from ckptkit.run import events
from tests.docs_examples import ROOT
from tests.launcher.conftest import Launched, is_there

EPOCHS = "2"
SCRIPT = ROOT / "scripts" / "train_digits.py"
DIGEST = re.compile(r"SHA-256 of all variables: (\w{64})")


def trains(launched: Launched, attempt: int) -> int:
    """The process of an attempt that has saved something."""

    def saved() -> bool:
        return any(event.attempt == attempt for event in launched.told(events.Saved))

    launched.until(saved)
    return next(
        event.pid for event in launched.told(events.AttemptStarted) if event.attempt == attempt
    )


@pytest.mark.long
def test_killed_then_orphaned_then_finished_with_the_bits_of_one_that_nobody_killed(
    launch, tf_process, tmp_path
):
    command = [sys.executable, str(SCRIPT), "--run", "run", "--epochs", EPOCHS, "--verbose", "1"]
    environment = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    first = launch(command=command, named=False, environment=environment)

    os.kill(trains(first, 1), signal.SIGKILL)
    orphan = psutil.Process(trains(first, 2))
    (ended,) = first.told(events.LaunchEnded)
    assert (ended.cause, ended.signal) == ("signal", "SIGKILL")
    assert ended.step > 0

    first.process.kill()
    first.wait()
    first.until(lambda: not is_there(orphan.pid))
    (preempted,) = first.told(events.RunPreempted)
    assert (preempted.reason, preempted.exit_code) == ("the launcher is gone", 75)
    assert (
        "stopped by the launcher is gone" in (first.run / "log" / "training.log").read_text()
    )  # nobody else reads it any more

    last, undisturbed = (
        tf_process(SCRIPT, "--run", run, "--epochs", EPOCHS, env=environment).check()
        for run in (first.run, tmp_path / "other")
    )
    assert [event.attempt for event in first.told(events.Restored)] == [2, 3]
    assert DIGEST.search(last.stdout)[1] == DIGEST.search(undisturbed.stdout)[1]

    attempts = ckptkit.open_run(first.run).attempts
    assert [(attempt.outcome, attempt.cause.partition(" at step ")[0]) for attempt in attempts] == [
        ("dead", "was ended by SIGKILL"),
        ("preempted", "stopped by the launcher is gone"),
        ("finished", "came to its end"),
    ]
    assert (ended.of_attempt, attempts[0].last_step) == (1, max(ended.reached, ended.step))
    assert (
        attempts[0].steps_lost
        == attempts[0].last_step - attempts[1].first_step
        == attempts[1].steps_redone
    )
    assert attempts[0].began < attempts[0].start  # when the launcher started it
    spent = {event.attempt: event.spent for event in first.told(events.AttemptEnded)}
    assert {"preparing", "drawing_again", "restoring", "first_step", "training", "saving"} <= set(
        spent[2]
    )
    assert {"evaluating", "exporting"} <= set(spent[3])
    for attempt in attempts[1:]:
        assert sum(spent[attempt.number].values()) == pytest.approx(
            attempt.end - attempt.start, abs=0.5
        )  # two clocks
