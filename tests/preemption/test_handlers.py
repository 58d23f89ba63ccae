"""Handlers are there while a run is open, and nowhere else; a handler that was there before has its
say; children inherit nothing.
"""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest

import ckptkit
from ckptkit.run import events
from tests.preemption.conftest import recorded

HANDLERS = "tests.preemption.handlers:"


@pytest.mark.parametrize("program", ["off_the_main_thread", "pool_inside", "child_handlers"])
def test_it_asserts_for_itself(tf_call, tmp_path, program):
    tf_call(HANDLERS + program, str(tmp_path)).check()


@pytest.mark.parametrize("ending", ["finished", "preempted", "failed"])
def test_all_is_restored(tf_call, tmp_path, ending):
    tf_call(HANDLERS + "restored_after", str(tmp_path), ending).check()


def test_an_orphan_does_not_keep_the_lock(tf_call, tmp_path):
    run = tmp_path / "run"
    killed = tf_call(HANDLERS + "leaves_an_orphan", str(run))
    orphan = int(killed.wait_for_output(r"child (\d+)")[1])
    try:
        assert killed.kill() == -signal.SIGKILL
        os.kill(orphan, 0)
        tf_call(HANDLERS + "ignored", str(run)).check()
        assert [event.step for event in recorded(run, events.Restored)] == [2]
        assert [event.step for event in recorded(run, events.Finished)] == [8]
        os.kill(orphan, 0)
    finally:
        os.kill(orphan, signal.SIGKILL)


@pytest.mark.parametrize(("then", "code"), [("exit", 42), ("_exit", 43), ("return", 75)])
def test_a_handler_from_before_is_called_after_the_commit(tf_call, tmp_path, then, code):
    run = tmp_path / "run"
    process = tf_call(HANDLERS + "handler_from_before", str(run), "SIGTERM", then).check(code=code)
    assert process.stdout == "handler [4, 7] []\n" or process.stdout == "handler [7] []\n"
    assert [event.step for event in recorded(run, events.RunPreempted)] == [7]
    assert [event.outcome for event in recorded(run, events.AttemptEnded)] == (
        [] if then == "_exit" else ["preempted"]
    )
    assert ckptkit.open_run(run).find("latest").step == 7


def test_sigusr1_with_a_handler_from_before_is_left_alone(tf_call, tmp_path):
    run = tmp_path / "run"
    process = tf_call(HANDLERS + "handler_from_before", str(run), "SIGUSR1", "return").check()
    assert "handler" in process.stdout
    assert "went on" in process.stdout
    assert not recorded(run, events.RunPreempted)
    assert not recorded(run, events.SignalReceived)


def test_sigusr1_that_is_ignored_stays_ignored(tf_call, tmp_path):
    tf_call(HANDLERS + "ignored", str(tmp_path / "run")).check()
    assert not recorded(tmp_path / "run", events.RunPreempted)


def test_files_of_other_callbacks_are_flushed(tf_call, tmp_path):
    run = tmp_path / "run"
    tf_call(HANDLERS + "flushes", str(run)).check(code=43)
    assert Path(f"{run}.lines").read_text().split() == ["0", "1", "2", "3", "0", "1", "2"]
    with open(f"{run}.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0"]
    written = list((tmp_path / "run-events" / "train").glob("events.*"))
    assert written
    # Every batch of the seven has its summary in the file: what was in a buffer would be lost.
    process = tf_call("tests.preemption.summaries:steps", str(written[0]), "batch_loss").check()
    assert process.result == [1, 2, 3, 4, 5, 6, 7]


def test_request_stop_in_a_loop(tf_call, tmp_path):
    run = tmp_path / "run"
    process = tf_call(HANDLERS + "stopped_by_request", str(run)).check(code=75)
    assert "weight" not in process.stdout
    (preempted,) = recorded(run, events.RunPreempted)
    assert (preempted.step, preempted.reason, preempted.exit_code) == (4, "enough", 75)


def test_signals_and_exit_code_of_the_users_choice(tf_call, tmp_path):
    run = tmp_path / "run"
    tf_call(HANDLERS + "other_signals", str(run)).check(code=7)
    assert [event.exit_code for event in recorded(run, events.RunPreempted)] == [7]
