"""Exit codes, and errors as one line without a traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.cli.command_group import COMMANDS
from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.pins import Pin, pin

READERS = ["list", "show", "history"]
OTHERS = [["verify"], ["prune"], ["pin", "5"], ["unpin", "5"], ["rollback", "5"]]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", r"The directory missing does not exist\."),
        ("a-file", r"a-file is a file\. Expected a run directory\."),
        (
            "foreign",
            "foreign is (not a|no) run directory: it has neither checkpoints/ nor journal/",
        ),
    ],
)
def test_no_such_run(tmp_path, ckptkit, command, name, said):
    (tmp_path / "a-file").write_text("x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("x")
    result = ckptkit(command, name)
    assert result.returncode == 10
    assert result.stdout == ""
    assert re.match(f"ckptkit: {said}", result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_nothing_is_made_in_what_is_no_run(tmp_path, called, command):
    (tmp_path / "foreign").mkdir()
    assert called(command[0], "foreign", *command[1:]).returncode == 10
    assert [path.name for path in tmp_path.rglob("*")] == ["foreign"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["pin"],
        ["show"],
        ["frob"],
        ["list", "--frob", "run"],
        ["list", "a", "b"],
        ["list", ""],
        ["list", "gs://bucket/run"],
    ],
    ids=str,
)
def test_usage(ckptkit, arguments):
    result = ckptkit(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--follow"],
        ["show"],
        ["history"],
        ["tensors"],
        ["verify"],
        ["verify", "--all"],
    ],
    ids=str,
)
def test_a_tilde_before_no_users_name_is_part_of_the_name(tmp_path, dummy_run, called, arguments):
    """As a shell hands it on."""
    result = called(*arguments, "~nobody-of-this-name/run")
    assert (result.returncode, result.stdout) == (10, "")
    if "--follow" not in arguments:
        dummy_run.attempt()
        dummy_run.save(100)
        (tmp_path / "~nobody-of-this-name").mkdir()
        dummy_run.root.rename(tmp_path / "~nobody-of-this-name" / "run")
        assert called(*arguments, "~nobody-of-this-name/run").returncode == 0


@pytest.mark.parametrize("command", ["show", "tensors", "verify"])
def test_a_file_that_is_none_of_these(tmp_path, called, command):
    (tmp_path / "notes.txt").write_text("by hand")
    (tmp_path / ".index").write_text("")
    for name in ("notes.txt", ".index"):
        result = called(command, name)
        assert (result.returncode, result.stdout) == (10, "")
        assert "It is no model either" in result.stderr


def test_an_object_store_is_refused_with_the_remedy(ckptkit):
    assert "Mount storage that outlives the machine" in ckptkit("list", "s3://bucket/run").stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["list", "--help"], ["show", "-h"], ["--version"]], ids=str
)
def test_help_and_version(ckptkit, arguments):
    result = ckptkit(*arguments)
    assert result.returncode == 0
    assert result.stdout
    assert result.stderr == ""


SAID = {
    "list": [["run"], ["run", "--json"], ["."], [".", "--json"], ["run", "--follow"]],
    "show": [["run"], ["run", "--json"]],
    "verify": [["run", "--all"]],
    "prune": [["run", "--keep-latest", "1", "--dry-run"]],
    "pin": [["run", "100"]],
    "unpin": [["run", "200"]],
    "rollback": [["run", "100", "--dry-run"]],
    "run": [["--explain"]],
    "save": [["--help"]],
    "stop": [["--help"]],
    "export": [["--help"]],
    "history": [["run"], ["run", "--json"]],
    "tensors": [["run"], ["run", "--json"]],
    "diff": [["run@100", "@100"], ["run@100", "@100", "--json"]],
    "adopt": [["--help"]],
    "audit": [["--help"]],
    "report": [["run", "--json"]],
    "watch": [["--help"]],
}
"""Calls that print something; those that wait for a training, or import TensorFlow, only their
help.
"""


def test_every_command_is_said():
    missing = set(COMMANDS) - SAID.keys()
    assert not missing, "how does it behave where nobody reads what it prints?"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], *([name, *rest] for name, calls in SAID.items() for rest in calls)],
    ids=str,
)
def test_a_closed_pipe_is_no_error(dummy_run, ckptkit, arguments):
    dummy_run.attempt()
    dummy_run.save(100)
    pin(dummy_run.files, dummy_run.layout, CheckpointName.parse(dummy_run.save(200).name), Pin())
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = ckptkit(*arguments, stdout=writer)
    finally:
        os.close(writer)
    assert result.returncode == 0
    assert result.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_that_cannot_be_written_is_an_error(dummy_run, ckptkit):
    dummy_run.attempt()
    with open("/dev/full", "w") as full:
        result = ckptkit("list", "run", stdout=full)
    assert result.returncode == 1
    assert (
        result.stderr
        == "ckptkit: Could not use standard output: No space left on device. Check its permissions "
        "and the free space.\n"
    )


def test_a_name_that_the_terminal_cannot_spell(dummy_run, ckptkit, environment):
    dummy_run.attempt()
    dummy_run.save(100, trigger="größer \N{RIGHTWARDS ARROW} 5")
    result = ckptkit(
        "list", "run", env=environment | {"PYTHONIOENCODING": "latin-1"}, encoding="latin-1"
    )
    assert result.returncode == 0
    assert "größer \\u2192 5" in result.stdout


@pytest.mark.parametrize("closed", ["run", "run/checkpoints", "run/journal"])
def test_no_permission(dummy_run, ckptkit, obeying, tmp_path, closed):
    dummy_run.attempt()
    dummy_run.save(100)
    (tmp_path / closed).chmod(0)
    result = ckptkit("list", "run", **obeying)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(
        f"ckptkit: Could not {'read' if closed == 'run' else 'list'} {closed}: "
    )
    assert "ermission denied" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_permission_on_the_way_to_the_run(dummy_run, ckptkit, obeying, tmp_path):
    dummy_run.attempt()
    (tmp_path / "inner").mkdir()
    dummy_run.root.rename(tmp_path / "inner" / "run")
    (tmp_path / "inner").chmod(0)
    result = ckptkit("list", "inner/run", **obeying)
    assert result.returncode == 1
    assert "ermission denied" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_that_may_only_be_read(dummy_run, ckptkit, obeying, tmp_path):
    dummy_run.attempt()
    dummy_run.save(100)
    dummy_run.save(200)
    for path in (dummy_run.root, *dummy_run.root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert ckptkit("list", "run", **obeying).returncode == 0
    assert ckptkit("show", "run", **obeying).returncode == 0
    assert ckptkit("verify", "run", **obeying).returncode == 0
    assert ckptkit("prune", "run", "--keep-latest", "1", "--dry-run", **obeying).returncode == 0
    for command in (
        ["prune", "run", "--keep-latest", "1", "--yes"],
        ["rollback", "run", "100", "--yes"],
        ["pin", "run", "100"],
    ):
        result = ckptkit(*command, **obeying)
        assert result.returncode == 1
        assert "ermission denied" in result.stderr
        assert result.stderr.count("\n") == 1


# -- each code once, by a real process; what else ends with it is tested where it is decided


def test_3_is_damage_and_11_a_run_that_trains(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(50)
    (dummy_run.save(100) / "ckpt-100.index").unlink()
    assert ckptkit("show", "run").returncode == 3
    assert ckptkit("verify", "run").returncode == 3
    assert ckptkit("list", "run").returncode == 0, "a list is no question after one checkpoint"
    lock = RunLock(dummy_run.files, dummy_run.layout, SystemClock())
    try:
        assert ckptkit("rollback", "run", "50", "--yes").returncode == 11
    finally:
        lock.release()


@pytest.mark.parametrize("code", [0, 78, 93])
def test_what_a_training_ends_with_is_passed_on(ckptkit, code):
    assert (
        ckptkit(
            "run", "--notices", "off", "--", sys.executable, "-c", f"raise SystemExit({code})"
        ).returncode
        == code
    )


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_what_a_launcher_ends_with_that_is_told_to(environment, tmp_path, signum, code):
    command = [
        sys.executable,
        "-m",
        "ckptkit",
        "run",
        "--notices",
        "off",
        "--",
        "sh",
        "-c",
        "echo began; exec sleep 60",
    ]
    launcher = subprocess.Popen(
        command,
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert launcher.stdout is not None
    with launcher.stdout:
        assert launcher.stdout.readline() == b"began\n"
        launcher.send_signal(signum)
        assert launcher.wait(60) == code
