"""Storage that fails under the launcher while a training runs: the training is supervised on."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ckptkit.run.events import LaunchEnded
from tests.launcher.conftest import ROOT

PROGRAM = Path(__file__).with_name("failing_storage.py")
ERRNOS = [
    errno.EIO,
    errno.EACCES,
    errno.ESTALE,
    errno.ENOSPC,
    errno.EROFS,
    errno.EMFILE,
    errno.ENOENT,
    errno.ELOOP,
    errno.ENOLCK,
    errno.ETIMEDOUT,
]
OPERATIONS = ["stat", "lstat", "listdir", "open", "mkdir", "fsync", "flock"]
NEVER = {("mkdir", "named"), ("flock", "named")}
"""Operations that the launcher has done before, when it opened the run that was named."""


@pytest.mark.parametrize("named", ["named", ""], ids=["--run", "announced"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_error_of_storage_ends_the_launcher_of_a_training(operation, named, tmp_path):
    """It starts the training again after exit code 75, though the storage fails until the end."""
    words = ["wait:go", "open", "step", "print:hello", "next:exit:75/exit:0"]
    command = [sys.executable, PROGRAM, tmp_path, operation, *ERRNOS, "--", named, *words]
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("outcome ")]
    outcomes = [json.loads(line.removeprefix("outcome ")) for line in lines]
    assert [each["errno"] for each in outcomes] == ERRNOS, done.stderr
    for each in outcomes:
        assert (each["code"], each["starts"]) == (0, 2), (each, done.stderr)
        assert (each["faults"] > 0) is ((operation, named) not in NEVER), each
        # Each consequence is reported once, by a text that begins in its own way.
        reported = Counter(
            line[:25] for line in each["lines"] if os.strerror(each["errno"]) in line
        )
        assert set(reported.values()) <= {1}, each["lines"]


REFUSES = """
import threading

start = threading.Thread.start

def refuses(self):
    if self.name in {names!r}:
        raise RuntimeError("can't start new thread")
    start(self)

threading.Thread.start = refuses
"""


def without_threads(tmp_path: Path, *names: str) -> dict[str, str]:
    """An environment in which a launcher has no further thread of these names."""
    (tmp_path / "sitecustomize.py").write_text(REFUSES.format(names=names))
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}


def test_without_a_further_thread_the_launcher_supervises_and_records_all(launch, tmp_path):
    names = ["ckptkit-journal", "ckptkit-storage", "ckptkit-log", "ckptkit-notices"]
    launched = launch(
        "open",
        "step",
        "print:hello",
        "next:exit:75/exit:0",
        options=["--notices", f"file:{tmp_path / 'notice'}"],
        environment=without_threads(tmp_path, *names),
    )
    assert launched.wait() == 0, launched.stderr
    assert [event.cause for event in launched.told(LaunchEnded)] == ["preempted", "finished"]
    assert launched.stdout == "hello\nhello\n"
    for name in names:
        assert f"without its thread {name}, which could not be started: " in launched.stderr


def test_no_training_is_started_whose_output_nobody_could_read(launch, tmp_path):
    launched = launch("exit:0", environment=without_threads(tmp_path, "ckptkit-output"))
    assert launched.wait() == 126, launched.stderr
    assert launched.pids == []
    assert "no further thread can be started to read its output" in launched.stderr
