"""Audits without an answer: the message, the exit code, and that no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.processes import ROOT

PYTHON = [sys.executable, "-S", "-E", "-c"]


def started(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command as a process of its own; its directories for temporary files are below."""
    (directory / "tmp").mkdir(exist_ok=True)
    (directory / "work").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CKPTKIT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "ckptkit", "audit", *arguments],
        cwd=directory / "work",
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory / "tmp")},
    )


def said(directory: Path, *arguments: str) -> tuple[int, str, str]:
    process = started(directory, *arguments)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            "import sys; sys.exit('it is broken')",
            ["ended by itself, with exit code 1", "  it is broken"],
        ),
        (
            "import os; os.kill(os.getpid(), 11)",
            ["ended by itself, by SIGSEGV", "nothing to standard error"],
        ),
        (
            "import sys; sys.path.insert(0, sys.argv[1]); import tests.cli.conftest as c; "
            "c.DummyRun(c.Path('run')).attempt().save(5)",
            ["has its own launcher", "ckptkit audit -- python train.py"],
        ),
        (
            "print('hello')",
            ["opened no run of ckptkit", "CheckpointCallback or CheckpointManager"],
        ),
    ],
)
def test_a_training_that_fails_or_is_none(tmp_path, program, expected):
    code, stdout, stderr = said(tmp_path, "--json", "--", sys.executable, "-c", program, str(ROOT))
    assert (code, stdout) == (1, "")
    assert all(words in stderr for words in expected), stderr
    (kept,) = (tmp_path / "tmp").iterdir()  # what it says of the output holds
    assert str(kept / "uninterrupted" / "output.log") in stderr


def test_a_command_that_is_not_there(tmp_path):
    code, _, stderr = said(tmp_path, "--", "no-such-program")
    assert code == 1
    assert "Could not start no-such-program: No such file or directory" in stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Expected the training command after --"),
        (["--at", "5,x", "--", "true"], "Received: '5,x'"),
        (["--at", "0", "--", "true"], "Received: '0'"),
        (["--at", "5", "--kills", "2", "--", "true"], "Received both"),
        (["--in-place", "--link", "data", "--", "true"], "Received both"),
        (["--link", "data", "--", "true"], "which does not exist in"),
        (["--keep", ".", "--", "true"], "the name of a new directory after --keep"),
        (["--signal", "SIGHUP", "--", "true"], "SIGHUP"),
    ],
)
def test_usage(tmp_path, arguments, expected):
    code, stdout, stderr = said(tmp_path, *arguments)
    assert (code, stdout) == (2, "")
    assert expected in stderr
    assert not list((tmp_path / "tmp").iterdir())


def test_ctrl_c_ends_the_training_and_leaves_nothing(tmp_path):
    process = started(
        tmp_path,
        "--",
        *PYTHON,
        "import pathlib, time; pathlib.Path('../../../../here').touch(); time.sleep(100)",
    )
    end = time.monotonic() + 60
    while not (tmp_path / "here").exists():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    (training,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.endswith("ckptkit: interrupted\n")
    assert not training.is_running() or training.status() == psutil.STATUS_ZOMBIE
    assert not list((tmp_path / "tmp").iterdir())


def test_a_limit(tmp_path):
    code, _, stderr = said(
        tmp_path, "--limit-secs", "0.3", "--", *PYTHON, "import time; time.sleep(100)"
    )
    assert code == 1
    assert "took longer than 0.3 s and was killed (--limit-secs)" in stderr
