"""Audits as real processes, over trainings as real processes."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.processes import ROOT

STARTER = Path(__file__).with_name("starter.py")
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "audit.json").read_text())


def bytes_of(directory: Path) -> dict[str, str]:
    """Every path below a directory, with what is there and when it was changed."""
    found = {}
    for path in sorted(directory.rglob("*")):
        content = "directory" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(directory))] = (
            f"{content} {path.lstat().st_mtime_ns if not path.is_dir() else ''}"
        )
    return found


@dataclass
class Audited:
    """An audit that has ended.

    Args:
        code: its exit code.
        stdout, stderr: what it has printed.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> dict[str, Any]:
        """What it says with --json, checked against its schema."""
        said = json.loads(self.stdout)
        jsonschema.Draft202012Validator(SCHEMA).validate(said)
        return said


Audit = Callable[..., Audited]


def run(*arguments: str) -> int:
    """The command, in a process that has imported TensorFlow."""
    from ckptkit.cli import main

    tempfile.tempdir = None  # the fork server has looked already
    return main(["audit", *arguments])


@pytest.fixture
def audit(tf_call: Any, fork_server: Any, tmp_path: Path) -> Audit:
    """`audit("--at", "5", program=text, args=[...])`: audits a script, in `tmp_path / "work"`,
    whose own processes are forked.
    """
    work = tmp_path / "work"
    work.mkdir()

    def audit(*options: str, program: str, args: list[str], data: Path | None = None) -> Audited:
        (work / "train.py").write_text(program)
        if data is not None and not (work / data.name).exists():
            (work / data.name).symlink_to(data)
        (tmp_path / "tmp").mkdir(exist_ok=True)
        command = [sys.executable, "-S", "-E", str(STARTER), fork_server.address, "train.py", *args]
        process = tf_call(
            "tests.audit.conftest:run",
            *options,
            "--",
            *command,
            cwd=work,
            env={"TMPDIR": str(tmp_path / "tmp")},
        )
        code = process.wait(400)
        return Audited(process.result if code == 0 else code, process.stdout, process.stderr)

    return audit
