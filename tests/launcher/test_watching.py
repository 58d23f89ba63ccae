"""Notices, and a training that does not get on."""

from __future__ import annotations

import json
import re

from ckptkit.store.events import LaunchDecided, LaunchEnded, NoticeReceived, Stalled
from tests.launcher.conftest import is_there


def test_a_notice_is_told_to_the_training_before_the_signal_and_ends_with_75(launch, tmp_path):
    notice = tmp_path / "notice"
    launched = launch("open", "step", "note:SIGTERM", "next:wait:go+commit+exit:75", options=["--notices", f"file:{notice}"]).waits()
    assert not launched.signals()
    notice.write_text("")
    launched.until(launched.signals)
    (name, request), *_ = launched.signals()
    assert name == "SIGTERM"
    assert request["source"].startswith("file: ")
    assert request["grace_secs"] > 0
    launched.go_on()
    assert launched.wait() == 75
    assert len(launched.pids) == 1
    assert [event.source for event in launched.told(NoticeReceived)] == ["file"]
    assert "file: " in launched.told(LaunchDecided)[-1].reason


def test_the_signal_of_a_notice_may_be_another_one(launch, tmp_path):
    notice = tmp_path / "notice"
    launched = launch("open", "step", "save_on:SIGUSR1", "wait:never", options=["--notices", f"file:{notice}", "--signal", "SIGUSR1"]).waits("never")
    notice.touch()
    assert launched.wait() == 75


def test_a_hang_without_a_limit_is_told_and_left_alone(launch):
    launched = launch("stacks", "open", "step", "wait:go", options=["--stall-secs", "0.3", "--first-step-secs", "1e6"])
    launched.until(lambda: re.search(r'File ".*child\.py", line \d+ in wait', launched.stderr))  # the stacks, by the child's own faulthandler
    launched.go_on()
    assert launched.wait() == 0
    (stalled,) = launched.told(Stalled)  # once for each stall
    assert (stalled.phase, stalled.step, stalled.ended) == ("training", 1, False)
    assert "in wait" in (launched.run / "log" / "training.log").read_text()


def test_a_hang_with_a_limit_is_ended_and_started_again(launch):
    launched = launch("stacks", "open", "step", "ignore:SIGTERM", "next:wait:never/exit:0",
                      options=["--hang-secs", "1", "--first-step-secs", "1e6", "--grace-secs", "1"])
    assert launched.wait() == 0
    assert [event.cause for event in launched.told(LaunchEnded)] == ["hang", "finished"]
    assert [event.ended for event in launched.told(Stalled)] == [True]
    assert re.search(r'File ".*child\.py", line \d+ in wait', launched.stderr)
    assert not is_there(launched.pids[0])


def test_the_first_step_has_a_limit_of_its_own(launch):
    launched = launch("stacks", "open", "wait:go", "step", "next:wait:never/exit:0",
                      options=["--hang-secs", "1", "--first-step-secs", "1e6", "--grace-secs", "1"]).waits()
    launched.never(lambda: launched.told(Stalled), secs=2.0)  # more than the limit that comes after the first step
    launched.go_on()
    assert launched.wait() == 0
    assert [(event.ended, event.step) for event in launched.told(Stalled)] == [(True, 1)]


def test_a_program_that_has_let_go_of_its_run_is_not_hung(launch):
    launched = launch("open", "step", "idle", "wait:go", options=["--hang-secs", "0.2", "--first-step-secs", "1e6"]).waits()
    launched.never(lambda: launched.told(Stalled), secs=1.0)
    launched.go_on()
    assert launched.wait() == 0


def test_a_program_that_says_nothing_is_not_hung(launch):
    """It may be any program: the launcher knows its exit code only."""
    launched = launch("wait:go", options=["--hang-secs", "0.2", "--first-step-secs", "0.2", "--stall-secs", "0.2"]).waits()
    launched.never(lambda: launched.told(Stalled) or launched.process.poll() is not None, secs=1.0)
    launched.go_on()
    assert launched.wait() == 0
    assert [event.cause for event in launched.told(LaunchEnded)] == ["finished"]


def test_stop_by_the_operator_is_not_started_again(launch):
    launched = launch("open", "step", "commit", "asked", "exit:75")
    assert launched.wait() == 75
    assert len(launched.pids) == 1
    assert "somebody asked it to stop" in launched.told(LaunchDecided)[-1].reason


def test_what_a_training_says_that_cannot_be_understood_is_not_believed(launch):
    launched = launch("garbage:{", "garbage:[]", f"garbage:{json.dumps({'pid': 1}).replace(':', '=')}", "open", "step", "exit:0")
    assert launched.wait() == 0
