"""`ckptkit save` and `ckptkit stop`, from another process, to `fit` and to a loop of the user's
own.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import ckptkit
from ckptkit.layout import run_layout
from ckptkit.run import events
from ckptkit.run.control_requests import ANY_ATTEMPT, ControlRequest, ask, encode_request, new_id
from ckptkit.run.launcher_channel import Channel, ChannelState
from ckptkit.session.remote_control import HEARTBEAT_SECS
from ckptkit.storage.files import FileSystem
from tests.docs_examples import ROOT
from tests.preemption.conftest import HERE, Held, recorded, result


def command(*arguments: object) -> subprocess.Popen[str]:
    """The command, as a process that goes on while the training stands still."""
    return subprocess.Popen(
        [sys.executable, "-m", "ckptkit", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def heard(held: Held, count: int = 1) -> None:
    held._until(
        lambda: len(recorded(held.run, events.Requested)) >= count, "the request was not heard"
    )


@pytest.mark.parametrize(
    ("program", "options"), [("train.py", ("--no-saves", "--background")), ("loop.py", ())]
)
def test_save_is_done_at_the_next_safe_point_and_training_goes_on(
    start, undisturbed, program, options
):
    held: Held = start(program, "batch", options=options).wait_for("batch")
    saving = command("save", held.run)
    heard(held)
    held.go_on("batch")
    stdout, stderr = saving.communicate(timeout=60)
    assert saving.returncode == 0, stderr
    assert result(held.process) == undisturbed(program)  # it went on as if nothing had happened
    (request,) = recorded(held.run, events.Requested)
    (served,) = recorded(held.run, events.RequestServed)
    saved = next(event for event in recorded(held.run, events.Saved) if event.step == served.step)
    assert (request.action, saved.trigger) == ("save", f"asked for by {request.source}")
    assert stdout == f"saved {saved.checkpoint} ({saved.trigger})\n"
    assert not run_layout(held.run).request.exists()


@pytest.mark.parametrize(("program", "hold"), [("train.py", "validation"), ("loop.py", "batch")])
def test_stop_saves_and_ends_with_75(start, undisturbed, program, hold):
    held: Held = start(program, hold).wait_for(hold)
    stopping = command("stop", held.run)
    heard(held)
    held.go_on(hold)
    held.process.check(code=75)
    stdout, stderr = stopping.communicate(timeout=60)
    (preempted,) = recorded(held.run, events.RunPreempted)
    assert (stopping.returncode, stdout) == (0, f"preempted at step {preempted.step}\n"), stderr
    assert ckptkit.open_run(held.run).find("latest").step == preempted.step
    done = result(start(program).process)
    expected = undisturbed(program)
    assert (
        done == {**expected, "turns": expected["turns"][preempted.step :]}
        if program == "loop.py"
        else done == expected
    )


def test_requests_that_are_not_for_this_attempt_or_none_at_all_mean_nothing(start, undisturbed):
    held: Held = start("loop.py", "turn").wait_for("turn")
    layout = run_layout(held.run)
    good = ControlRequest(id=new_id(), action="stop", attempt=1, at=time.time(), source="somebody")
    layout.control.mkdir()
    for text in (
        *(encode_request(replace(good, attempt=attempt)) for attempt in (ANY_ATTEMPT, 2)),
        encode_request(replace(good, version=99)),
        b"{",
        b"x" * 200_000,
    ):
        layout.request.with_suffix(".new").write_bytes(text)
        layout.request.with_suffix(".new").rename(layout.request)
        time.sleep(1.1)  # it looks once a second
    ask(FileSystem(), layout, replace(good, id="the right one", action="save"))
    heard(held)
    held.go_on("turn")
    assert result(held.process) == undisturbed("loop.py")
    assert [event.id for event in recorded(held.run, events.Requested)] == ["the right one"]


def test_when_it_takes_too_long_the_request_stands(start):
    held: Held = start("loop.py", "turn").wait_for("turn")
    stopping = command("stop", held.run, "--timeout", "0")
    assert "The request stands" in stopping.communicate(timeout=60)[1]
    assert stopping.returncode == 1
    heard(held)
    held.go_on("turn")
    held.process.check(code=75)


def test_a_training_that_is_killed_does_not_answer(start):
    held: Held = start("loop.py", "turn").wait_for("turn")
    saving = command("save", held.run)
    heard(held)
    held.process.send_signal(signal.SIGKILL)
    assert "ended and left no record" in saving.communicate(timeout=60)[1]
    assert saving.returncode == 1
    again = command("save", held.run)
    assert "No process trains" in again.communicate(timeout=60)[1]
    assert again.returncode == 1


# -- the launcher's channel; here the test is the launcher


@pytest.fixture
def channel(tmp_path, monkeypatch):
    directory = tmp_path / "channel"
    directory.mkdir()
    channel = Channel(directory)
    descriptor = channel.open()
    yield channel, descriptor
    if descriptor >= 0:
        os.close(descriptor)


def launched(tf_process, tmp_path, channel, program, *holds: str) -> Held:
    run = tmp_path / "run"
    return Held(
        tf_process(
            HERE / program,
            "--run",
            run,
            "--hold",
            *holds,
            env={"CKPTKIT_LAUNCHER": str(channel.directory)},
        ),
        run,
    )


def says(held: Held, channel: Channel, **expected: object) -> ChannelState:
    """Waits until the training says this."""

    def found() -> bool:
        said = channel.read()
        return said is not None and all(
            getattr(said, name) == value for name, value in expected.items()
        )

    held._until(found, f"it did not say {expected}, but {channel.read()}")
    return channel.read()


def test_a_training_tells_its_launcher_how_it_gets_on(tf_process, tmp_path, channel):
    channel, _ = channel
    held = launched(
        tf_process,
        tmp_path,
        channel,
        "train.py",
        "tracing",
        "batch",
        "validation",
        "validation_end",
    )
    held.wait_for("tracing")
    first = says(
        held,
        channel,
        phase="tracing",
        step=0,
        trained=False,
        run=str(tmp_path / "run"),
        attempt=1,
        outcome="",
    )
    assert channel.is_training
    held.go_on("tracing").wait_for("batch")
    second = says(held, channel, phase="training", trained=True)
    assert second.step > 0
    held.go_on("batch").wait_for("validation")
    third = says(held, channel, phase="evaluating")
    assert first.beats < second.beats < third.beats
    held.process.send_signal(
        second.dump_signal
    )  # the stacks of all threads, also of one that stands still
    held.process.wait_for_output(r"holds\.py.* in at")
    held.go_on("validation").wait_for("validation_end")
    held._until(
        lambda: channel.read().beats > third.beats, "the evaluation was not told to get on"
    )  # its steps do not grow
    held.go_on("validation_end")
    result(held.process)
    last = channel.read()
    assert (last.phase, last.outcome, last.step, last.failure) == ("idle", "finished", 15, None)
    assert not channel.is_training


def test_the_deadline_of_the_launcher_counts(tf_process, tmp_path, channel):
    channel, _ = channel
    held = launched(tf_process, tmp_path, channel, "loop.py", "turn").wait_for("turn")
    says(held, channel, run=str(tmp_path / "run"))
    channel.ask(
        ControlRequest(
            id=new_id(),
            action="stop",
            attempt=ANY_ATTEMPT,
            at=time.time(),
            source="gce: the instance is preempted",
            grace_secs=17,
        )
    )
    held.signal(signal.SIGTERM)
    (notice,) = recorded(held.run, events.NoticeReceived)  # it knew before the signal was noted
    assert notice.source == "gce: the instance is preempted"
    assert 10 < notice.grace_secs <= 17
    held.go_on("turn").ends(75)
    decided = recorded(held.run, events.EmergencyDecided)[-1]
    assert decided.action == "save"
    assert float(decided.reason.split()[0]) <= 17


def test_what_the_launcher_says_last_of_the_deadline_counts(tf_process, tmp_path, channel):
    """A notice leaves a minute, and then somebody ends the launcher in 8 s."""
    channel, _ = channel
    held = launched(tf_process, tmp_path, channel, "loop.py", "turn").wait_for("turn")
    says(held, channel, run=str(tmp_path / "run"))
    for secs in (60, 8):
        channel.ask(
            ControlRequest(
                id=new_id(),
                action="stop",
                attempt=ANY_ATTEMPT,
                at=time.time(),
                source=f"{secs} s",
                grace_secs=secs,
            )
        )
        held.signal(signal.SIGTERM)
    assert [event.source for event in recorded(held.run, events.NoticeReceived)] == ["60 s", "8 s"]
    held.go_on("turn").ends(75)
    assert float(recorded(held.run, events.EmergencyDecided)[-1].reason.split()[0]) <= 8


def test_what_keeps_a_run_from_being_opened_is_told(tf_process, tmp_path, channel):
    channel, _ = channel
    held = launched(tf_process, tmp_path, channel, "loop.py", "turn").wait_for("turn")
    other = tmp_path / "other"
    other.mkdir()
    second = Channel(other)
    descriptor = second.open()
    process = launched(tf_process, tmp_path, second, "loop.py").process
    assert process.wait() == 1
    os.close(descriptor)
    said = second.read()
    assert (said.failure.error, said.failure.restart, said.trained) == (
        "RunLockedError",
        False,
        False,
    )
    held.go_on("turn")
    result(held.process)


def test_when_the_launcher_dies_the_training_saves_and_stops(tf_process, tmp_path, channel):
    channel, descriptor = channel
    held = launched(tf_process, tmp_path, channel, "loop.py", "turn").wait_for("turn")
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # as the kernel does it for a process that was killed
    held.process.wait_for_output("the launcher is gone")
    held.go_on("turn").ends(75)
    (preempted,) = recorded(held.run, events.RunPreempted)
    assert preempted.reason == "the launcher is gone"
    assert not channel.directory.exists()


def test_where_nobody_can_tell_whether_the_launcher_lives_training_goes_on(
    tf_process, tmp_path, channel, undisturbed
):
    """As on a file system without locks: the launcher's file is not there, see below."""
    channel, _ = channel
    channel.launcher.unlink()
    held = launched(tf_process, tmp_path, channel, "loop.py", "turn").wait_for("turn")
    says(held, channel, run=str(tmp_path / "run"))
    time.sleep(3 * HEARTBEAT_SECS)
    held.go_on("turn")
    assert result(held.process) == undisturbed("loop.py")
