"""A process that has ckptkit and TensorFlow, and none of the tests' code, in which every export is
loaded again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import checkers
from tests.support.processes import ENVIRONMENT, ROOT


@dataclass(frozen=True)
class Answer:
    """What came of a call elsewhere.

    Args:
        value: one array, or arrays by name.
        described: what the loaded model says of itself.
        signatures: their names.
    """

    value: Any
    described: str
    signatures: list[str]


class Elsewhere:
    """Calls exports in that process. It is started by the first call, and ends with the tests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        site = directory / "site"
        site.mkdir()
        (site / "ckptkit").symlink_to(ROOT / "ckptkit")
        sites = [path for path in sys.path if path.endswith("site-packages")]
        self._log = (directory / "stderr").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("consumer.py")), str(site), *sites],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=directory,
            env={**os.environ, **ENVIRONMENT},
        )
        self._number = 0

    def __call__(self, path: Path, *positional: Any, signature: str = "", **named: Any) -> Answer:
        """Loads an export there, and calls it with arrays."""
        self._number += 1
        inputs, outputs = (
            self._directory / f"{self._number}-in.npz",
            self._directory / f"{self._number}-out.npz",
        )
        arrays = {f"arg_{index}": value for index, value in enumerate(positional)} | {
            f"kw_{name}": value for name, value in named.items()
        }
        np.savez(inputs, **arrays)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "path": str(path),
            "signature": signature,
            "inputs": str(inputs),
            "outputs": str(outputs),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, (self._directory / "stderr").read_text(errors="replace")
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        with np.load(outputs) as loaded:
            found = {name: loaded[name] for name in loaded.files}
        return Answer(found.get("", found), answer["described"], answer["signatures"])

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._log.close()


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """Calls an export in a process that cannot import the tests."""
    started = Elsewhere(tmp_path_factory.mktemp("elsewhere"))
    yield started
    started.close()


@pytest.fixture(scope="package", autouse=True)
def _one_process_checks_all_exports():
    with checkers.using(checkers.shared()):
        yield
