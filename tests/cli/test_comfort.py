"""What makes the command pleasant: suggestions, short forms, and tables for narrow terminals."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios

import pytest

from ckptkit.cli.foreign_package import complaint_about
from ckptkit.run.events import AttemptEnded, Restored
from tests.cli.conftest import ROOT, DummyRun

FOREIGN = '"""Another project."""\n__version__ = "0.3.0"\n__all__ = ["convert_checkpoint"]\n'


def test_a_foreign_package_is_named_with_the_way_out(tmp_path, environment):
    """Pip installs the foreign package over this one: its __init__.py, and its command's script."""
    shutil.copytree(ROOT / "ckptkit", tmp_path / "ckptkit")
    (tmp_path / "ckptkit" / "__init__.py").write_text(FOREIGN)
    program = "import sys; from ckptkit.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "list"],
        env=environment | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"{tmp_path}/ckptkit/__init__.py" in done.stderr
    assert "in a checkout of this one: pip install ." in done.stderr


def test_the_own_package_is_not_foreign():
    import ckptkit

    assert complaint_about(ckptkit) is None


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("lst", "Did you mean list?"), ("histroy", "Did you mean history?"), ("Verify", "verify?")],
)
def test_a_misspelt_command_gets_a_suggestion(called, typed, hint):
    done = called(typed, "run")
    assert done.returncode == 2
    assert hint in done.stderr


def test_an_unknown_command_without_a_similar_one(called):
    done = called("frobnicate")
    assert (done.returncode, "Did you mean" in done.stderr) == (2, False)
    assert "`ckptkit --help`" in done.stderr


def test_version_has_a_short_form(called):
    assert called("-V").stdout == called("--version").stdout != ""


def test_list_without_a_directory_lists_the_current_one(called, dummy_run):
    dummy_run.attempt()
    dummy_run.save(100)
    done = called("list")
    assert done.returncode == 0
    assert "run" in done.stdout.splitlines()[1]


def test_report_without_a_name_is_called_like_the_run(called, dummy_run, tmp_path):
    dummy_run.attempt()
    dummy_run.save(100)
    assert called("report", "run/").returncode == 0
    assert (tmp_path / "run.html").read_bytes().startswith(b"<!doctype html>")
    assert called("report", "run").returncode == 0, "an earlier report is replaced"


def test_report_opens_the_browser(tmp_path, environment, dummy_run):
    """`BROWSER` names a program, as on any Unix."""
    dummy_run.attempt()
    dummy_run.save(100)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    report = [sys.executable, "-m", "ckptkit", "report", "run", "--open"]
    for name, code in ((str(browser), 0), (f"{tmp_path}/missing", 1)):
        settings = environment | {"BROWSER": f"{name} %s", "PATH": "/nonexistent"}
        done = subprocess.run(
            report, env=settings, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
    assert (tmp_path / "opened").read_text() == (tmp_path / "run.html").as_uri()
    assert "Open run.html yourself" in done.stderr


def test_report_opens_no_standard_output(called, dummy_run):
    dummy_run.attempt()
    assert called("report", "run", "--open", "--json").returncode == 2


@pytest.fixture
def measured(dummy_run):
    dummy_run.attempt()
    for step, accuracy, score in [(1, 0.5, 3.0), (2, 0.9, 1.0), (3, 0.7, 2.0)]:
        dummy_run.save(step, metrics={"val_accuracy": accuracy, "score": score, "loss": 1.0 / step})
    return dummy_run


@pytest.mark.parametrize(
    ("choice", "step"),
    [("best", 3), ("best:val_accuracy", 2), ("best:score:max", 1), ("best:score:min", 2)],
)
def test_the_best_by_a_metric(called, measured, choice, step):
    done = called("show", "run", choice)
    assert done.stdout.startswith(f"ckpt-{step}-1: "), done.stderr
    assert called("show", f"run@{choice}").stdout.startswith(f"ckpt-{step}-1: ")


@pytest.mark.parametrize(
    ("choice", "code", "words"),
    [
        ("best:", 2, "best:METRIC"),
        ("best:score", 2, "whether smaller or larger"),
        ("best:no_metric:max", 1, "Expected one of: "),
        ("best:val_acuracy", 1, "Did you mean best:val_accuracy?"),
    ],
)
def test_the_best_by_what_cannot_be_told(called, measured, choice, code, words):
    done = called("show", "run", choice)
    assert done.returncode == code
    assert words in done.stderr


def on_terminal(columns: int, *arguments: str, environment: dict[str, str], cwd) -> str:
    """What a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    done = subprocess.Popen(
        [sys.executable, "-m", "ckptkit", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"NO_COLOR": "1"},
        cwd=cwd,
    )
    os.close(theirs)
    text = b""
    try:
        while data := os.read(ours, 65_536):
            text += data
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert done.wait(60) == 0, text.decode()
    return text.decode().replace("\r\n", "\n")


@pytest.fixture
def long_run(tmp_path):
    """A run whose tables need far more than 80 columns."""
    run = DummyRun(tmp_path / "runs" / "a-long-name-of-a-run-as-people-choose-them")
    for attempt, step in enumerate((1200, 2400), start=1):
        run.attempt(host="gpu-worker-17.europe-west4.example.com", pid=1_234_567)
        if attempt > 1:
            run.record(Restored(checkpoint="ckpt-1200-1", step=1200, epoch=1, batch=0, secs=1.0))
        run.save(
            step,
            epoch=attempt,
            metrics={"val_loss": 0.123456, "loss": 0.2, "val_accuracy": 0.99},
            trigger="every 1200 steps | best val_loss",
        )
    run.record(AttemptEnded(outcome="finished", step=2400))
    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["history", "RUN"],
        ["list", "RUN"],
        ["list", "runs"],
        ["show", "RUN"],
        ["tensors", "RUN"],
        ["verify", "RUN", "--all"],
        ["prune", "RUN", "--keep-latest", "1", "--dry-run"],
        ["run", "--explain"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_every_table_is_readable_at_80_columns(tmp_path, environment, long_run, arguments):
    """No line of a table is wider; paths and commands to copy stay whole."""
    shown = str(long_run.root.relative_to(tmp_path))
    arguments = [shown if each == "RUN" else each for each in arguments]
    text = on_terminal(80, *arguments, environment=environment, cwd=tmp_path)
    wide = [
        line
        for line in text.splitlines()
        if len(line) > 80 and shown not in line and not line.lstrip().startswith("reader")
    ]
    assert not wide, text


def test_a_row_of_history_keeps_all_its_values(tmp_path, environment, long_run):
    shown = str(long_run.root.relative_to(tmp_path))
    text = on_terminal(80, "history", shown, environment=environment, cwd=tmp_path)
    assert "host: gpu-worker-17.europe-west4.example.com (1234567)" in text
    assert "resumed from: ckpt-1200-1" in text
    assert "end: the run had finished" in text
