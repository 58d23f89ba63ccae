"""A user's project as the templates expect it: `train.py`, and a virtual environment in `venv/`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ENVIRONMENT, ROOT

ENVIRON = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
"""Of a process that trains; what clouds and schedulers say of themselves is added by a test."""


def project(there: Path, epochs: int = 15) -> Path:
    """Makes one, which trains on digits.

    Args:
        there: the directory, which is made.
        epochs: how long.
    """
    environment(there / "venv" / "bin")
    training = (ROOT / "scripts" / "train_digits.py").read_text()
    assert "default=15" in training
    (there / "train.py").write_text(training.replace("default=15", f"default={epochs}"))
    shutil.copytree(ROOT / "scripts" / "data", there / "data")
    return there


def environment(there: Path) -> None:
    """Stands for the `bin` of a virtual environment, with the programs of the tests' own."""
    there.mkdir(parents=True)
    for name, command in {"python": "", "ckptkit": "-m ckptkit"}.items():
        script(there / name, f'exec {sys.executable} {command} "$@"')


def script(path: Path, text: str) -> None:
    """Makes a shell script that can be called."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def digest(output: str) -> str:
    """Of all variables, as the training prints it when it has finished."""
    (found,) = re.findall(r"SHA-256 of all variables: ([0-9a-f]{64})", output)
    return found


def uninterrupted(there: Path, epochs: int) -> str:
    """The digest at the end of a training that nobody interrupts."""
    program = project(there / "reference", epochs)
    command = [program / "venv/bin/python", program / "train.py", "--run", there / "uninterrupted"]
    done = subprocess.run(
        command,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stdout[-3000:]}"
    return digest(done.stdout)
