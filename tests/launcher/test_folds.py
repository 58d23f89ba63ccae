"""A program that trains several runs, one after the other in one process: folds. Each of them
counts its attempts from 1.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ckptkit.layout import run_layout
from ckptkit.run.events import LaunchEnded, LaunchStarted
from ckptkit.run.journal_reader import read_journal
from tests.launcher.conftest import ROOT


def told(launched, fold, kind):
    return [
        event
        for event in read_journal(run_layout(launched.run / fold)).events
        if isinstance(event, kind)
    ]


def test_the_progress_of_the_second_run_counts_where_the_attempts_of_both_have_the_same_number(
    launch,
):
    """The first one is finished, and only opened again."""
    launched = launch(
        "fold:fold-0",
        "next:step+commit/step/step/step",
        "finish",
        "fold:fold-1",
        "step",
        "commit",
        "next:exit:75/exit:75/exit:75/exit:75/exit:0",
        named=False,
    )
    assert launched.wait() == 0, launched.stderr
    assert len(launched.pids) == 5, "more starts than the launcher makes without progress"
    first, second = (told(launched, fold, LaunchEnded) for fold in ("fold-0", "fold-1"))
    assert [(event.of_attempt, event.step) for event in second] == [
        (number, 10 * number) for number in range(1, 6)
    ]
    assert [(event.of_attempt, event.step) for event in first] == [(0, 10)] * 5, (
        "each journal has the steps of its own run"
    )
    assert [event.step for event in told(launched, "fold-0", LaunchStarted)] == [0, 10, 10, 10, 10]
    assert [event.step for event in told(launched, "fold-1", LaunchStarted)] == [0, 10, 20, 30, 40]


def test_a_first_run_that_advances_is_progress_though_the_second_one_fails(launch):
    launched = launch(
        "next:fold:fold-0/fold:fold-1/fold:fold-2/fold:fold-3",
        "step",
        "commit",
        "fold:last",
        "step",
        "next:exit:75/exit:75/exit:75/exit:0",
        named=False,
    )
    assert launched.wait() == 0, launched.stderr
    assert len(launched.pids) == 4


def test_stop_finds_the_launcher_of_the_second_run(launch):
    options = ["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    launched = launch(
        "fold:fold-0",
        "step",
        "finish",
        "fold:fold-1",
        "step",
        "exit:1",
        options=options,
        named=False,
    )
    launched.until(lambda: "starting again" in launched.stderr)
    stopped = subprocess.run(
        [sys.executable, "-m", "ckptkit", "stop", "run/fold-1"],
        cwd=launched.directory,
        text=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (stopped.returncode, stopped.stdout) == (
        0,
        "the launcher has ended, and starts no training\n",
    ), stopped.stderr
    assert launched.wait() == 75
