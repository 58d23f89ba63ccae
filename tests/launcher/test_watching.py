"""Notices, and a training that does not get on."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from ckptkit.run.events import LaunchDecided, LaunchEnded, NoticeReceived, SignalReceived, Stalled
from tests.launcher.conftest import ROOT, is_there


def test_a_notice_is_told_to_the_training_before_the_signal_and_ends_with_75(launch, tmp_path):
    notice = tmp_path / "notice"
    launched = launch(
        "open",
        "step",
        "note:SIGTERM",
        "next:wait:go+commit+exit:75",
        options=["--notices", f"file:{notice}"],
    ).waits()
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


def test_a_later_word_that_leaves_less_time_is_told_and_one_that_leaves_more_is_not(
    launch, tmp_path
):
    notice = tmp_path / "notice"
    launched = launch(
        "open",
        "step",
        "note:SIGTERM:SIGUSR1",
        "next:wait:go+commit+exit:75",
        options=["--notices", f"file:{notice}", "--grace-secs", "20", "--signal", "SIGUSR1"],
    ).waits()
    notice.write_text("600")
    launched.until(launched.signals)
    launched.process.send_signal(signal.SIGTERM)
    launched.until(lambda: len(launched.signals()) == 2)
    launched.process.send_signal(signal.SIGTERM)
    launched.until(lambda: len(launched.signals()) == 3)
    (_, long), (_, short), (_, again) = launched.signals()
    assert long["grace_secs"] > 500
    assert short["grace_secs"] < 20
    assert again == short
    launched.go_on()
    assert launched.wait() == 75


def test_a_notice_is_told_also_where_a_hung_training_is_being_ended(launch, tmp_path):
    notice = tmp_path / "notice"
    launched = launch(
        "note:SIGTERM:SIGUSR1",
        "open",
        "step",
        "next:wait:go+exit:75",
        options=[
            "--notices",
            f"file:{notice}",
            "--hang-secs",
            "0.5",
            "--first-step-secs",
            "1e6",
            "--signal",
            "SIGUSR1",
        ],
    ).waits()
    launched.until(launched.signals)
    notice.write_text("600")
    launched.until(lambda: len(launched.signals()) == 2)
    (_, hang), (_, told) = launched.signals()
    assert hang["source"] == "no progress"
    assert told["source"].startswith("file: ")
    assert told["grace_secs"] < 30  # until it is killed for the hang
    launched.go_on()
    assert launched.wait() == 75
    assert len(launched.pids) == 1


def test_a_notice_that_is_cancelled_takes_only_its_own_reason_away(launch, tmp_path):
    """The launcher itself was told to end meanwhile, and that stands; so does the time that it
    left.
    """
    notice = tmp_path / "notice"
    launched = launch(
        "open",
        "step",
        "note:SIGTERM:SIGUSR1:SIGUSR2",
        "next:wait:go+commit+exit:75/exit:0",
        options=["--notices", f"file:{notice}", "--grace-secs", "40", "--signal", "SIGUSR1"],
    ).waits()
    notice.write_text("20")
    launched.until(launched.signals)
    launched.process.send_signal(signal.SIGTERM)
    launched.until(lambda: len(launched.signals()) == 2)
    notice.unlink()
    launched.until(lambda: "was cancelled" in launched.stderr)
    launched.process.send_signal(signal.SIGUSR2)  # only to have what it is told now written down
    launched.until(lambda: len(launched.signals()) == 3)
    before, now = (request for _, request in launched.signals()[1:])
    assert before["grace_secs"] < 20 < now["grace_secs"]
    assert now["source"].startswith("SIGTERM: ")
    launched.go_on()
    assert launched.wait() == 75
    assert len(launched.pids) == 1


def test_the_signal_of_a_notice_may_be_another_one(launch, tmp_path):
    notice = tmp_path / "notice"
    launched = launch(
        "open",
        "step",
        "save_on:SIGUSR1",
        "wait:never",
        options=["--notices", f"file:{notice}", "--signal", "SIGUSR1"],
    ).waits("never")
    notice.touch()
    assert launched.wait() == 75


STORAGE = """
import os, time
from ckptkit.run.events import NoticeReceived, SignalReceived
from ckptkit.run.journal import Journal

record = Journal.record_durable

def hangs(self, event, at=None):
    while isinstance(event, NoticeReceived | SignalReceived) and not os.path.exists("storage"):
        time.sleep(0.005)
    record(self, event, at)

Journal.record_durable = hangs
"""


@pytest.mark.parametrize("by", ["SIGTERM", "SIGUSR2", "notice"])
def test_storage_that_hangs_keeps_no_signal_from_the_training(launch, tmp_path, by):
    """The launcher's journal is on it; what it tells there stands there later."""
    (tmp_path / "sitecustomize.py").write_text(
        STORAGE
    )  # of the launcher: the training is started without `site`
    notice = tmp_path / "notice"
    launched = launch(
        "open",
        "step",
        "note:SIGTERM:SIGUSR2",
        "next:wait:go+exit:0",
        options=["--notices", f"file:{notice}"],
        environment={"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    ).waits()
    notice.touch() if by == "notice" else launched.process.send_signal(signal.Signals[by])
    launched.until(launched.signals)
    assert not launched.told(NoticeReceived) + launched.told(SignalReceived)
    (tmp_path / "storage").touch()
    launched.go_on()
    assert launched.wait() == 0
    assert len(launched.told(NoticeReceived) + launched.told(SignalReceived)) == 1


def test_storage_that_hangs_keeps_no_later_signal_and_no_deadline_from_the_training(
    launch, tmp_path
):
    (tmp_path / "sitecustomize.py").write_text(STORAGE)
    launched = launch(
        "open",
        "step",
        "note:SIGTERM:SIGUSR2",
        "wait:go",
        options=["--grace-secs", "2"],
        environment={"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    ).waits()
    for count, number in enumerate((signal.SIGUSR2, signal.SIGUSR2, signal.SIGTERM), start=1):
        launched.process.send_signal(number)
        launched.until(lambda count=count: len(launched.signals()) >= count)
    launched.until(lambda: not is_there(launched.pids[0]))
    (tmp_path / "storage").touch()
    assert launched.wait() == 75
    assert [event.signal for event in launched.told(SignalReceived)] == [
        "SIGUSR2",
        "SIGUSR2",
        "SIGTERM",
    ]
    times = [event.time for event in (*launched.told(SignalReceived), *launched.told(LaunchEnded))]
    assert times == sorted(times)
    assert times[-1] - times[2] > 1, (
        "each has the time at which it came, not that at which the storage took it"
    )


START_HANGS = STORAGE.replace("NoticeReceived | SignalReceived", "LaunchStarted").replace(
    "NoticeReceived, SignalReceived", "LaunchStarted"
)


def test_no_training_is_started_before_its_start_is_durable_and_signals_are_heard_meanwhile(
    launch, tmp_path
):
    (tmp_path / "sitecustomize.py").write_text(START_HANGS)
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    launched = launch("exit:0", environment=environment)
    launched.until(
        lambda: launched.run.exists() and list((launched.run / "journal").glob("launcher-*"))
    )
    launched.never(lambda: launched.pids, secs=1.0)
    (tmp_path / "storage").touch()
    assert launched.wait() == 0
    (tmp_path / "storage").unlink()
    told = launch("exit:0", environment=environment)
    told.until(lambda: len(list((told.run / "journal").glob("launcher-*"))) == 2)
    told.never(lambda: len(told.pids) == 2, secs=0.5)
    told.process.send_signal(signal.SIGTERM)
    told.until(lambda: "ends with exit code 75" in told.stderr)
    (tmp_path / "storage").touch()
    assert told.wait() == 75
    assert len(told.pids) == 1


def test_a_hang_without_a_limit_is_told_and_left_alone(launch):
    launched = launch(
        "stacks",
        "open",
        "step",
        "wait:go",
        options=["--stall-secs", "0.3", "--first-step-secs", "1e6"],
    )
    launched.until(
        lambda: re.search(r'File ".*child\.py", line \d+ in wait', launched.stderr)
    )  # the stacks, by the child's own faulthandler
    launched.go_on()
    assert launched.wait() == 0
    (stalled,) = launched.told(Stalled)  # once for each stall
    assert (stalled.phase, stalled.step, stalled.ended) == ("training", 1, False)
    assert "in wait" in (launched.run / "log" / "training.log").read_text()


def test_a_hang_with_a_limit_is_ended_and_started_again(launch):
    launched = launch(
        "stacks",
        "open",
        "step",
        "ignore:SIGTERM",
        "next:wait:never/exit:0",
        options=["--hang-secs", "1", "--first-step-secs", "1e6", "--grace-secs", "1"],
    )
    assert launched.wait() == 0
    assert [event.cause for event in launched.told(LaunchEnded)] == ["hang", "finished"]
    assert [(event.of_attempt, event.reached) for event in launched.told(LaunchEnded)] == [
        (1, 1),
        (2, 1),
    ]
    assert [event.ended for event in launched.told(Stalled)] == [True]
    assert re.search(r'File ".*child\.py", line \d+ in wait', launched.stderr)
    assert not is_there(launched.pids[0])


def test_the_first_step_has_a_limit_of_its_own(launch):
    launched = launch(
        "stacks",
        "open",
        "wait:go",
        "step",
        "next:wait:never/exit:0",
        options=["--hang-secs", "1", "--first-step-secs", "1e6", "--grace-secs", "1"],
    ).waits()
    launched.never(
        lambda: launched.told(Stalled), secs=2.0
    )  # more than the limit that comes after the first step
    launched.go_on()
    assert launched.wait() == 0
    assert [(event.ended, event.step) for event in launched.told(Stalled)] == [(True, 1)]


def test_a_program_that_has_let_go_of_its_run_is_not_hung(launch):
    launched = launch(
        "open",
        "step",
        "idle",
        "wait:go",
        options=["--hang-secs", "0.2", "--first-step-secs", "1e6"],
    ).waits()
    launched.never(lambda: launched.told(Stalled), secs=1.0)
    launched.go_on()
    assert launched.wait() == 0


def test_a_program_that_says_nothing_is_not_hung(launch):
    """It may be any program: the launcher knows its exit code only."""
    launched = launch(
        "wait:go", options=["--hang-secs", "0.2", "--first-step-secs", "0.2", "--stall-secs", "0.2"]
    ).waits()
    launched.never(lambda: launched.told(Stalled) or launched.process.poll() is not None, secs=1.0)
    launched.go_on()
    assert launched.wait() == 0
    assert [
        (event.cause, event.of_attempt, event.reached) for event in launched.told(LaunchEnded)
    ] == [("finished", 0, None)]


@pytest.mark.parametrize("end", ["exit:75", "signal:SIGSEGV", "fail:SomeError:yes"])
def test_stop_by_the_operator_is_not_started_again(launch, end):
    """Also where it crashes before the save, or in it."""
    launched = launch("open", "step", "commit", "asked" if end == "exit:75" else "heard", end)
    assert launched.wait() == 75
    assert len(launched.pids) == 1
    assert "it was asked to stop" in launched.told(LaunchDecided)[-1].reason


def test_what_a_training_says_that_cannot_be_understood_is_not_believed(launch):
    launched = launch(
        "garbage:{",
        "garbage:[]",
        f"garbage:{json.dumps({'pid': 1}).replace(':', '=')}",
        "open",
        "step",
        "exit:0",
    )
    assert launched.wait() == 0
