"""Commands that read files of strangers end with a message, whatever TensorFlow does there."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys

import pytest

from ckptkit.exit_codes import ExitCode
from tests.support.forged_bundles import forge, put_a_part_outside, reseal, tamper

GUARD = """
import os, signal, sys, time
from ckptkit.cli.guarded_process import run_guarded
def action():
    print("child", os.getpid(), flush=True)
    {body}
print("parent", os.getpid(), flush=True)
sys.exit(run_guarded(action))
"""


def start(body):
    process = subprocess.Popen(
        [sys.executable, "-c", GUARD.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == f"parent {process.pid}\n"
    return process, int(process.stdout.readline().removeprefix("child "))


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("return 93", 93, ""),
        ("sys.exit(7)", 7, ""),
        ("print('written', end=''); return 0", 0, ""),
        ("os.abort()", ExitCode.CORRUPT, "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", ExitCode.CORRUPT, "was forged"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ExitCode.ERROR, "memory was short"),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("1 / 0", ExitCode.ERROR, "ZeroDivisionError"),
    ],
)
def test_the_end_of_the_child_is_the_end_of_the_command(body, code, words):
    process, _ = start(body)
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(60)
    assert process.returncode == code, err
    assert words in err
    assert out == ("written" if "written" in body else "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_is_passed_on(name):
    number = signal.Signals[name]
    process, _ = start(
        "signal.signal(signal.SIG, lambda *_: sys.exit(42)); print('up', flush=True); "
        "time.sleep(60)".replace("SIG,", f"{name},")
    )
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.wait(30) == 42


def test_no_child_outlives_a_command_that_is_killed():
    process, child = start("print('up', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "up\n"
    descriptor = os.pidfd_open(child)
    process.kill()
    process.wait()
    # The descriptor is readable when the child has ended.
    assert select.select([descriptor], [], [], 30)[0]
    os.close(descriptor)


def test_a_caller_that_ignores_the_end_of_children_is_served():
    program = GUARD.format(body="return 5")
    started = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 5


UNCHECKED = """
import sys
from ckptkit.load import tf_checksums
from ckptkit.bundle import tensor_bundle
from ckptkit.cli import main
for module in (tensor_bundle, tf_checksums):
    module.check_bundle = lambda *_: None
sys.exit(main())
"""
"""A command that leaves the check of the files out, so that TensorFlow ends its process."""

SAVE = """
import sys
import keras, numpy as np
import ckptkit
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
with ckptkit.CheckpointManager(sys.argv[1], {"model": model}, background=False) as manager:
    manager.save(1)
"""


@pytest.fixture
def forged_run(tmp_path, tf_process):
    """A run whose manifest agrees with files in which a number is impossible."""
    tf_process(SAVE, tmp_path / "run").check()
    checkpoint = tmp_path / "run" / "checkpoints" / "ckpt-1-1"
    put_a_part_outside(checkpoint / "ckpt-1")
    reseal(checkpoint)
    return tmp_path / "run"


def test_a_forged_bundle_is_an_error_of_the_command(tmp_path, tf_process):
    """TensorFlow ends its process over this one."""
    prefix = forge(tmp_path / "model-1", random.Random(1))
    process = tf_process(UNCHECKED, "verify", prefix)
    assert process.wait(120) == ExitCode.CORRUPT, process.stderr
    assert "TensorFlow has ended the process with SIG" in process.stderr.splitlines()[-1]


def test_a_forged_run_is_an_error_of_export(tmp_path, tf_process, forged_run):
    process = tf_process(UNCHECKED, "export", forged_run, tmp_path / "out")
    assert process.wait(120) == ExitCode.CORRUPT, process.output()
    assert "TensorFlow has ended the process with SIG" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_check_of_the_files_names_what_is_forged(tmp_path, tf_process, forged_run):
    process = tf_process(
        "import sys; from ckptkit.cli import main; sys.exit(main())",
        "export",
        forged_run,
        tmp_path / "out",
    )
    assert process.wait(120) == ExitCode.CORRUPT, process.output()
    assert "is outside of it" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", ["verify", "tensors", "show"])
def test_no_forged_bundle_ends_a_command_by_a_signal(tmp_path, seed, command):
    for number in range(seed, seed + 20):
        prefix = forge(tmp_path / str(number) / "model-1", random.Random(number))
        done = subprocess.run(
            [sys.executable, "-m", "ckptkit", command, str(prefix)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1, 2, 3), (number, done.returncode, done.stderr[-2000:])
        assert done.returncode == 0 or "ckptkit: " in done.stdout + done.stderr, number


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_forged_run_ends_an_export_by_a_signal(tmp_path, seed, tf_process):
    tf_process(SAVE, tmp_path / "run").check()
    for number in range(seed, seed + 20):
        run = tmp_path / str(number)
        shutil.copytree(tmp_path / "run", run)
        checkpoint = run / "checkpoints" / "ckpt-1-1"
        tamper(checkpoint / "ckpt-1", random.Random(number))
        reseal(checkpoint)
        done = subprocess.run(
            [sys.executable, "-m", "ckptkit", "export", str(run), str(tmp_path / "out")],
            capture_output=True,
            text=True,
            check=False,
        )
        # What is changed may be in a part that an export does not read.
        assert done.returncode in (0, 1, 3), (number, done.returncode, done.stderr[-2000:])
        assert "Traceback" not in done.stderr, (number, done.stderr[-2000:])
