"""Signals to a launcher, and what is left behind: real processes and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from ckptkit.run.events import LaunchDecided, LaunchEnded, SignalReceived, Swept
from tests.launcher.conftest import CHILD, ROOT, SIGNALS, is_there


@pytest.mark.parametrize("named", [True, False], ids=["--run", "announced"])
def test_sigterm_saves_and_ends_with_75(launch, named):
    launched = launch("open", "step", "save_on:SIGTERM", "wait:never", named=named).waits("never")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait() == 75
    assert len(launched.pids) == 1
    (ended,) = launched.told(LaunchEnded)
    assert (ended.cause, ended.exit_code, ended.step) == ("preempted", 75, 10)


def test_every_signal_is_passed_on(launch):
    launched = launch(
        "open", "step", "note:" + ":".join(number.name for number in SIGNALS), "wait:go"
    ).waits()
    for count, number in enumerate(SIGNALS, start=1):
        launched.process.send_signal(number)
        launched.until(lambda count=count: len(launched.signals()) == count)
    assert [name for name, _ in launched.signals()] == [number.name for number in SIGNALS]
    launched.go_on()
    assert launched.wait() == 0


def test_the_deadline_is_there_before_the_signal(launch):
    launched = launch(
        "open", "step", "note:SIGTERM", "wait:go", options=["--grace-secs", "50"]
    ).waits()
    launched.process.send_signal(signal.SIGTERM)
    launched.until(launched.signals)
    (_, request), *_ = launched.signals()
    assert (request["version"], request["action"], request["attempt"], request["cancelled"]) == (
        1,
        "stop",
        0,
        False,
    )
    assert 40 < request["grace_secs"] < 50  # something is left for the launcher itself
    assert "SIGTERM" in request["source"]
    launched.go_on()
    assert launched.wait() == 0


def test_a_burst_of_20_is_one_preemption(launch):
    launched = launch("open", "step", "save_on:SIGTERM", "wait:never").waits("never")
    for _ in range(20):
        os.kill(launched.process.pid, signal.SIGTERM)
    assert launched.wait() == 75
    assert len(launched.pids) == 1
    assert [event.cause for event in launched.told(LaunchEnded)] == ["preempted"]


def test_ctrl_c_ends_for_good(launch):
    launched = launch("open", "step", "wait:never").waits("never")
    launched.process.send_signal(signal.SIGINT)
    assert launched.wait() == 130
    assert len(launched.pids) == 1


def test_sigterm_while_it_waits_to_start_again(launch):
    launched = launch(
        "open", "step", "exit:1", options=["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    )
    launched.until(lambda: "starting again" in launched.stderr)
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait() == 75
    assert len(launched.pids) == 1


def test_another_signal_that_the_training_saves_on_ends_the_launcher_too(launch):
    launched = launch("open", "step", "save_on:SIGHUP", "wait:never").waits("never")
    launched.process.send_signal(signal.SIGHUP)
    assert launched.wait() == 75
    assert len(launched.pids) == 1


def test_a_batch_systems_warning_while_it_waits_to_start_again(launch):
    """Slurm's, two minutes before the time limit: there is no training that could take it, and none
    is started to be cut off.
    """
    launched = launch(
        "open", "step", "exit:1", options=["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    )
    launched.until(lambda: "starting again" in launched.stderr)
    launched.process.send_signal(signal.SIGUSR1)
    assert launched.wait() == 75
    assert len(launched.pids) == 1
    assert "the machine goes away" in launched.told(LaunchDecided)[-1].reason


def test_a_hang_up_while_it_waits_to_start_again(launch):
    """The terminal is gone: no training is started behind it."""
    launched = launch(
        "open", "step", "exit:1", options=["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    )
    launched.until(lambda: "starting again" in launched.stderr)
    launched.process.send_signal(signal.SIGHUP)
    assert launched.wait() == 129
    assert len(launched.pids) == 1


def stop(launched, before=()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-m", "ckptkit", "stop", "run"],
        cwd=launched.directory,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_stop_while_it_waits_to_start_again(launch):
    launched = launch(
        "open", "step", "exit:1", options=["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    )
    launched.until(lambda: "starting again" in launched.stderr)
    stdout, stderr = stop(launched).communicate(timeout=60)
    assert stdout == "the launcher has ended, and starts no training\n", stderr
    assert launched.wait() == 75
    assert len(launched.pids) == 1
    assert "ckptkit stop" in launched.told(LaunchDecided)[-1].reason
    assert not (launched.run / "control" / "request.json").exists()


def test_stop_before_the_training_has_opened_its_run(launch):
    """As while it imports: it is told in its channel, where it finds that when it opens the run."""
    launched = launch("wait:go", "open", "step", "commit", "exit:75").waits()
    stopping = stop(launched)
    launched.until(lambda: "is not started again" in launched.stderr)
    launched.go_on()
    stdout, stderr = stopping.communicate(timeout=60)
    assert (stopping.returncode, stdout) == (
        0,
        "the launcher has ended, and starts no training\n",
    ), stderr
    assert launched.wait() == 75
    assert len(launched.pids) == 1


@pytest.fixture
def elsewhere(tmp_path):
    """The words before a command that make it one of another machine: another number of the
    kernel's start, and locks that nobody here sees.
    """
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sitecustomize.py").write_text(
        "import fcntl\nfcntl.flock = lambda descriptor, operation: None\n"
    )
    boot = tmp_path / "boot_id"
    boot.write_text("00000000-0000-4000-8000-000000000000\n")
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$@"',
        "sh",
    ]
    done = subprocess.run(
        [*words, "cat", "/proc/sys/kernel/random/boot_id"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stdout != boot.read_text():
        pytest.skip(f"no file of the kernel may be replaced here: {done.stderr}")
    return [*words, "env", f"PYTHONPATH={ROOT}{os.pathsep}{tmp_path / 'elsewhere'}"]


def test_stop_from_another_machine_while_it_waits_to_start_again(launch, elsewhere):
    launched = launch(
        "open", "step", "exit:1", options=["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    )
    launched.until(lambda: "starting again" in launched.stderr)
    stdout, stderr = stop(launched, elsewhere).communicate(timeout=60)
    assert stdout == "the launcher has ended, and starts no training\n", stderr
    assert launched.wait() == 75
    assert len(launched.pids) == 1


def test_stop_from_another_machine_after_a_training_that_left_no_word(launch, elsewhere):
    """From there, its claim is that of a process that may live."""
    options = ["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    launched = launch(command=[sys.executable, "-c", HELD], options=options).waits("never")
    os.kill(_children(launched.process.pid)[0], signal.SIGKILL)
    launched.until(lambda: "starting again" in launched.stderr)
    stopping = stop(launched, elsewhere)
    stdout, stderr = stopping.communicate(timeout=50)  # less than a lease
    assert stopping.returncode == 0, stderr
    assert stdout.endswith("the launcher has ended, and starts no training\n")
    assert launched.wait() == 75
    assert not (launched.run / "control" / "request.json").exists()


def test_stop_goes_on_to_the_launcher_where_the_training_dies_of_something_else(launch):
    options = ["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    launched = launch(command=[sys.executable, "-c", HELD], options=options).waits("never")
    stopping = stop(launched)
    launched.until((launched.run / "control" / "request.json").exists)
    os.kill(_children(launched.process.pid)[0], signal.SIGKILL)
    stdout, stderr = stopping.communicate(timeout=60)
    assert stopping.returncode == 0, stderr
    assert stdout.endswith("the launcher has ended, and starts no training\n")
    assert launched.wait() == 75


def test_stop_where_a_launcher_of_this_machine_was_killed_too(launch):
    launched = launch(
        "open", "step", "exit:1", options=["--backoff-secs", "1e6", "--backoff-max-secs", "1e6"]
    )
    launched.until(lambda: "starting again" in launched.stderr)
    launched.process.kill()
    launched.wait()
    stopping = stop(launched)
    assert "No process trains" in stopping.communicate(timeout=60)[1]
    assert stopping.returncode == 1


@pytest.mark.parametrize(
    "words",
    [["wait:never"], ["open", "wait:never"]],
    ids=["before a run is open", "before the first step"],
)
def test_who_was_told_to_go_before_it_trained_goes_on_elsewhere(launch, words):
    """While it imports TensorFlow or loads data it has no handler: the signal itself ends it."""
    launched = launch(*words).waits("never")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait() == 75
    (ended,) = launched.told(LaunchEnded)
    assert (ended.cause, ended.signal) == ("signal", "SIGTERM")


def test_a_failure_after_the_last_save_takes_nothing_back(launch):
    """As of an exit handler of the user's: the state is saved, and the machine goes away all the
    same.
    """
    launched = launch("open", "step", "save_on:SIGTERM:1", "wait:never").waits("never")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait() == 75
    (ended,) = launched.told(LaunchEnded)
    assert (ended.cause, ended.exit_code, ended.step) == ("preempted", 1, 10)


def test_to_be_told_to_go_twice_costs_nothing(launch):
    """Two machines went away before the first checkpoint; on the third one the training stops once
    by itself.
    """
    for _ in range(2):
        launched = launch("open", "step", "next:wait:never/wait:never/exit:75/exit:0").waits(
            "never"
        )
        (launched.run / "never.here").unlink()
        launched.process.send_signal(signal.SIGTERM)
        assert launched.wait() == 75
    last = launch("open", "step", "next:wait:never/wait:never/exit:75/exit:0")
    assert last.wait() == 0
    assert [event.told for event in last.told(LaunchEnded)] == [True, True, False, False]


def test_another_signal_that_was_passed_on_and_ends_it_is_told_as_a_shell_does(launch):
    launched = launch("wait:never").waits("never")
    launched.process.send_signal(signal.SIGHUP)
    assert launched.wait() == 129


def test_who_ignores_sigterm_is_killed_before_the_grace_is_over(launch):
    launched = launch(
        "open", "step", "commit", "ignore:SIGTERM", "wait:never", options=["--grace-secs", "1"]
    ).waits("never")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait() == 75  # step 10 is committed, and the next start goes on from there
    (ended,) = launched.told(LaunchEnded)
    assert (ended.cause, ended.signal, ended.step) == ("signal", "SIGKILL", 10)
    assert "sending SIGTERM to all processes of its group" in launched.stderr
    assert not is_there(launched.pids[0])


def test_what_a_batch_script_has_started_before_the_launcher_is_left_alone(launch, tmp_path):
    """`exec > >(tee log)` and `exec ckptkit run`: the launcher is the parent of a process that it
    has not started.
    """
    before = [
        "bash",
        "-c",
        f'exec > >(exec tee {tmp_path}/log); sleep 60 & echo $! >{tmp_path}/helper; exec "$@"',
        "bash",
    ]
    launched = launch("open", "step", "print:word", "next:signal:SIGKILL/exit:0", before=before)
    assert launched.wait() == 0
    launched.until(lambda: (tmp_path / "log").read_text() == "word\nword\n")
    helper = int((tmp_path / "helper").read_text())
    assert is_there(helper)
    os.kill(helper, signal.SIGKILL)
    assert not launched.told(Swept)


def test_signals_at_the_end_change_no_exit_code(launch):
    launched = launch("open", "step", "print:word", "exit:78")
    launched.until(lambda: "the launcher ends with exit code 78" in launched.stderr)
    while launched.process.poll() is None:
        os.kill(launched.process.pid, signal.SIGTERM)
        os.kill(launched.process.pid, signal.SIGINT)
    assert launched.wait() == 78


@pytest.mark.long
def test_what_is_left_behind_at_the_deadline_is_not_asked_for_long(launch):
    """The launcher's own time is over then, too: what it ends with has to be said before."""
    launched = launch(
        "leave:stubborn",
        "open",
        "step",
        "ignore:SIGTERM",
        "wait:never",
        options=["--grace-secs", "5"],
    ).waits("never")
    machine = threading.Timer(
        8, launched.process.kill
    )  # a little later than it said; a stubborn one is asked for 5 s where there is time
    launched.process.send_signal(signal.SIGTERM)
    machine.start()
    assert launched.wait() == 75
    machine.cancel()


@pytest.mark.parametrize("kind", ["plain", "stubborn"])
def test_what_has_left_the_session_does_not_outlive_the_start(launch, kind):
    launched = launch(
        f"leave:{kind}",
        "open",
        "step",
        "next:signal:SIGKILL/wait:go",
        options=["--grace-secs", "0.5"],
    ).waits()
    first, second = (int((launched.run / f"left-{number}.here").read_text()) for number in (1, 2))
    assert not is_there(first)
    assert is_there(second)
    launched.go_on()
    assert launched.wait() == 0
    assert not is_there(second)
    assert [
        str(pid) in event.processes[0]
        for event, pid in zip(launched.told(Swept), (first, second), strict=True)
    ] == [True, True]


def test_a_training_below_a_shell_is_told_and_waited_for(launch):
    """The shell dies of the signal, and its child goes on to save."""
    script = f"{sys.executable} -S {CHILD} run open step save_on:SIGTERM wait:never; exit $?"
    launched = launch(command=["sh", "-c", script]).waits("never")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait() == 75
    (ended,) = launched.told(LaunchEnded)
    assert (ended.cause, ended.step) == ("preempted", 10)


@pytest.mark.parametrize(("name", "code"), [("SIGUSR1", 75), ("SIGINT", 130), ("SIGHUP", 75)])
def test_below_a_shell_that_has_died_a_training_saves_for_as_long_as_it_takes(launch, name, code):
    """Nobody has said until when, so no grace runs."""
    script = f"{sys.executable} -S {CHILD} run open step save_slowly_on:{name} wait:never; exit $?"
    launched = launch(command=["sh", "-c", script], options=["--grace-secs", "0.3"]).waits("never")
    launched.process.send_signal(signal.Signals[name])
    launched.waits()
    launched.never(lambda: not is_there(launched.pids[0]), secs=1.5)
    launched.go_on()
    launched.until(lambda: launched.told(LaunchEnded))
    assert launched.told(LaunchEnded)[0].step == 10
    assert launched.told(LaunchEnded)[0].cause == "preempted"
    assert launched.wait() == code
    assert not launched.told(Swept)


def test_a_hang_below_a_shell_that_has_ended_is_ended(launch):
    script = (
        f"{sys.executable} -S {CHILD} run open step wait:never & "
        "while [ ! -e run/never.here ]; do sleep 0.05; done; kill -9 $$"
    )
    launched = launch(
        command=["sh", "-c", script],
        options=[
            "--hang-secs",
            "1",
            "--first-step-secs",
            "1e6",
            "--grace-secs",
            "0.3",
            "--crashes",
            "0",
        ],
    )
    assert launched.wait() == 1
    assert [event.cause for event in launched.told(LaunchEnded)] == ["hang"]
    assert not is_there(launched.pids[0])


def test_a_process_that_is_not_the_launchers_own_gets_no_signal_whatever_the_channel_says(launch):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        launched = launch(
            "open",
            "step",
            f"claim:{bystander.pid}:{int(signal.SIGRTMIN) + 5}",
            "ignore:SIGTERM",
            "wait:never",
            options=["--grace-secs", "1", "--stall-secs", "0.2", "--first-step-secs", "0"],
        ).waits("never")
        launched.until(lambda: "no progress" in launched.stderr)
        launched.process.send_signal(signal.SIGTERM)
        assert launched.wait() == 75
        assert bystander.poll() is None
        assert f"process {bystander.pid}, which reports as the training" in launched.stderr
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGRTMAX + 1])
def test_stacks_are_asked_for_by_a_real_time_signal_only(launch, number):
    launched = launch(
        "open",
        "step",
        f"dumps_on:{int(number)}",
        "wait:go",
        options=["--stall-secs", "0.2", "--first-step-secs", "0"],
    ).waits()
    launched.until(lambda: "no progress" in launched.stderr)
    launched.go_on()
    assert launched.wait() == 0
    assert len(launched.pids) == 1


def test_the_launcher_is_killed_and_the_training_saves(launch):
    launched = launch("open", "step", "watch")
    launched.until((launched.run / "watching").exists)
    launched.process.kill()
    launched.wait()
    launched.until((launched.run / "saved").exists)
    launched.until(lambda: not is_there(launched.pids[0]))


@pytest.fixture
def namespace():
    """The words before a command that make it number 1 of its own processes."""
    words = ["unshare", "--fork", "--pid", "--mount-proc"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespace may be made here: {error}")
    return words


def test_as_number_1_it_passes_on_and_reaps(launch, namespace):
    launched = launch(
        "leave:plain", "open", "step", "save_on:SIGTERM", "wait:never", before=namespace
    ).waits("never")
    launcher = next(pid for pid in _children(launched.process.pid))
    (orphan,) = [
        child
        for child in psutil.Process(launcher).children()
        if "setsid" in " ".join(child.cmdline())
    ]
    orphan.kill()
    launched.until(lambda: not psutil.pid_exists(orphan.pid))  # nor is it a zombie
    assert launched.process.poll() is None
    os.kill(launcher, signal.SIGTERM)
    assert launched.wait() == 75
    (ended,) = launched.told(LaunchEnded)
    assert ended.cause == "preempted"


def test_a_container_that_is_killed_whole_is_told_by_the_next(launch, namespace):
    """As the kernel does it for memory since Kubernetes 1.28: nobody is left who could say why."""
    for _ in range(2):
        launched = launch("open", "step", "wait:never", before=namespace).waits("never")
        (launched.run / "never.here").unlink()
        os.kill(next(pid for pid in _children(launched.process.pid)), signal.SIGKILL)
        launched.wait()
    last = launch("open", "step", "exit:1", before=namespace)
    assert last.wait() == 93
    assert [(event.cause, event.inferred) for event in last.told(LaunchEnded)] == [
        ("memory", True),
        ("memory", True),
        ("exit", False),
    ]


HELD = """
import sys, time
from pathlib import Path
from ckptkit.clock import SystemClock
from ckptkit.run.events import AttemptStarted, TrainingStarted
from ckptkit.storage.files import FileSystem
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.layout import run_layout
from ckptkit.ownership.run_lock import RunLock
layout = run_layout("run")
lock = RunLock(FileSystem(), layout, SystemClock(), at_least=next_attempt(layout))
journal = start_journal(FileSystem(), layout, SystemClock(), lock.number)
journal.record(AttemptStarted(host="", pid=1, program=""))
journal.record(TrainingStarted(step=0))
Path("run", "never.here").touch()
time.sleep(600)
"""
"""A training that holds its run as ckptkit does, without TensorFlow."""


def test_a_training_that_is_killed_with_its_launcher_is_told_by_the_next(launch):
    """As below an init, or in a new pod on the same node: the launcher is not number 1, and the
    kernel still knows that both are gone.
    """
    for _ in range(3):
        launched = launch(command=[sys.executable, "-c", HELD]).waits("never")
        (launched.run / "never.here").unlink()
        training = _children(launched.process.pid)
        launched.process.kill()
        launched.wait()
        for pid in training:
            os.kill(pid, signal.SIGKILL)
        launched.until(lambda training=training: not any(map(is_there, training)))
    last = launch("open", "exit:0")
    assert last.wait() == 93
    assert last.pids == [], (
        "three starts that trained were lost without a newer checkpoint: a fourth would be, too"
    )
    assert [(event.cause, event.inferred) for event in last.told(LaunchEnded)] == [
        ("killed", True)
    ] * 3


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def test_nothing_is_left_in_the_temporary_directory(launch, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    launched = launch("open", "step", "next:exit:1/exit:0", environment={"TMPDIR": str(temporary)})
    assert launched.wait() == 0
    assert list(temporary.iterdir()) == []


def test_whoever_read_the_output_may_leave(launch, tmp_path):
    """`ckptkit run ... | head`: the training goes on, and the log has the rest."""
    reader, writer = os.pipe()
    try:
        launched = launch(
            "open",
            "print:first",
            "wait:go",
            "print:second",
            "wait:on",
            "print:third",
            stdout=writer,
        )
    finally:
        os.close(writer)
    with os.fdopen(reader) as output:
        assert output.readline() == "first\n"
    for name in ("go", "on"):  # after the second line the launcher knows, and is asked for one more
        launched.waits(name).go_on(name)
    assert launched.wait() == 0
    assert [event.cause for event in launched.told(LaunchEnded)] == ["finished"]
    assert (launched.run / "log" / "training.log").read_text() == "first\nsecond\nthird\n"


def test_a_batch_script_that_ignores_signals_until_the_launcher_listens(launch):
    """As the shipped one does; what `nohup` ignores stays ignored, for the training too."""
    before = ["sh", "-c", "trap '' USR1 TERM HUP; exec \"$@\"", "sh"]
    launched = launch("open", "step", "save_on:SIGTERM", "wait:never", before=before).waits("never")
    launched.process.send_signal(signal.SIGHUP)
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait() == 75
    assert [event.signal for event in launched.told(SignalReceived)] == ["SIGTERM"]
