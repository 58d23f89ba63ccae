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


def project(there: Path) -> Path:
    """Makes one, which trains on digits.

    Args:
        there: the directory, which is made.
    """
    (there / "venv" / "bin").mkdir(parents=True)
    for name, command in {"python": "", "ckptkit": "-m ckptkit"}.items():
        program = there / "venv" / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        program.chmod(0o755)
    shutil.copy(ROOT / "scripts" / "train_digits.py", there / "train.py")
    shutil.copytree(ROOT / "scripts" / "data", there / "data")
    return there


def digest(output: str) -> str:
    """Of all variables, as the training prints it when it has finished."""
    (found,) = re.findall(r"SHA-256 of all variables: ([0-9a-f]{64})", output)
    return found


def uninterrupted(there: Path) -> str:
    """The digest at the end of a training that nobody interrupts."""
    program = project(there / "reference")
    command = [program / "venv/bin/python", program / "train.py", "--run", there / "uninterrupted"]
    return digest(subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=True, timeout=500).stdout)
