"""Checks an export in a fresh Python without the user's code or a GPU, within a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import tensorflow as tf

from ckptkit.errors import ExportError
from ckptkit.load.cpu_only import HIDDEN_DEVICES
from ckptkit.load.exported_model import unknown_operation

CHECKER = Path(__file__).with_name("check_program.py")

_SITES = ("site-packages", "dist-packages")
_STDERR_CHARACTERS = 2000
_ALARM_AFTER_SECS = 5.0
_LOOK_SECS = 0.2

Tensors = dict[str, tf.Tensor]


@dataclass(frozen=True)
class CheckAnswer:
    """The checking process's answer for one signature.

    Args:
        outputs: the outputs by name; empty if the signature failed.
        error: the type and message of its error, or None.
    """

    outputs: Tensors = field(default_factory=dict)
    error: tuple[str, str] | None = None


class Checker:
    """A checking process that imports TensorFlow while the export is written, and checks it once.

    Entering its `with` block starts the process; leaving the block ends it.

    Args:
        limit_secs: the time limit for the answer, in seconds from the request. It includes the rest
            of the imports.
        hurried: returns whether this process is about to stop and cannot wait.
        python: the interpreter.
    """

    def __init__(
        self,
        limit_secs: float,
        hurried: Callable[[], bool] = lambda: False,
        python: str = sys.executable,
    ) -> None:
        self._limit_secs = limit_secs
        self._hurried = hurried
        self._python = python
        self._directory = tempfile.TemporaryDirectory(
            prefix="ckptkit-check-", ignore_cleanup_errors=True
        )
        self._work = Path(self._directory.name)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Checker:
        if not self._python:
            self._directory.cleanup()
            raise ExportError(
                "An export is checked in a fresh Python, but this program does not know its own "
                "interpreter (sys.executable is empty). Export from a plain Python with "
                "ckptkit export."
            )
        # -I keeps the user's code out: the path has no working directory, script directory or
        # PYTHONPATH.
        command = [self._python, "-I", str(CHECKER), str(self._work), *_sites()]
        try:
            with (self._work / "stderr").open("wb") as said:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=said,
                    cwd=self._work,
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C must reach the training only
                )
        except OSError as error:
            self._directory.cleanup()
            raise ExportError(
                f"The fresh Python that checks an export could not be started: {error}."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is not None:
            if process.stdin is not None and not process.stdin.closed:
                with suppress(BrokenPipeError):  # it ended before any request
                    process.stdin.close()
            if process.poll() is None:
                process.kill()
            process.wait()
        self._directory.cleanup()

    def ask(
        self,
        directory: Path,
        inputs: Mapping[str, Mapping[str, tf.Tensor]],
        imports: Sequence[str] = (),
    ) -> dict[str, CheckAnswer]:
        """Load an export in the checking process and run its signatures.

        Args:
            directory: the SavedModel.
            inputs: the inputs, by signature and input name.
            imports: modules of installed libraries to import first.

        Returns:
            The answer for each signature.

        Raises:
            ExportError: If it cannot be loaded, the process died, or the time limit has passed.
        """
        signatures = {}
        for number, (name, tensors) in enumerate(inputs.items()):
            files = {key: f"in-{number}-{index}" for index, key in enumerate(tensors)}
            for key, file in files.items():
                (self._work / file).write_bytes(tf.io.serialize_tensor(tensors[key]).numpy())
            signatures[name] = {"inputs": files, "prefix": f"out-{number}-"}
        threads = (
            tf.config.threading.get_intra_op_parallelism_threads(),
            tf.config.threading.get_inter_op_parallelism_threads(),
        )
        request = {
            "directory": str(directory.resolve()),
            "threads": threads,
            "limit_secs": self._limit_secs + _ALARM_AFTER_SECS,
            "imports": list(imports),
            "signatures": signatures,
        }
        answer = self._answer(json.dumps(request).encode() + b"\n")
        if answer["error"] is not None:
            if operation := unknown_operation(answer["error"][1]):
                raise ExportError(
                    f"a fresh process cannot load it: it needs the operation {operation!r}, which "
                    "is not part of TensorFlow. Name the library that provides it, as in "
                    "imports=('tensorflow_text',); servers need it, too"
                )
            raise ExportError(f"a fresh process cannot load it: {': '.join(answer['error'])}")
        return {name: self._read(found) for name, found in answer["signatures"].items()}

    def _answer(self, request: bytes) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        end = time.monotonic() + self._limit_secs
        with suppress(BrokenPipeError):  # it died; the missing answer is reported below
            self._process.stdin.write(request)
            self._process.stdin.close()
        while self._process.poll() is None:
            self.check_time(end)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK_SECS)
        try:
            answer: dict[str, Any] = json.loads((self._work / "answer-0.json").read_bytes())
        except FileNotFoundError as error:
            said = (self._work / "stderr").read_text(errors="replace").strip()[-_STDERR_CHARACTERS:]
            raise ExportError(
                f"the fresh process that loads it ended with code {self._process.returncode} and "
                f"no answer: {said or 'it printed nothing'}"
            ) from error
        return answer

    def check_time(self, end: float) -> None:
        """Check that there is time to wait for an answer.

        Args:
            end: the deadline, on the clock of `time.monotonic`.

        Raises:
            ExportError: If there is no time left.
        """
        if self._hurried():
            raise ExportError(
                "this process is about to stop, and the remaining time is too short for the check"
            )
        if time.monotonic() > end:
            raise ExportError(
                "a fresh process did not finish loading and running it within "
                f"{self._limit_secs:g} s. Give it more time (limit_secs), or a smaller sample"
            )

    def _read(self, found: Mapping[str, Any]) -> CheckAnswer:
        if found["error"] is not None:
            return CheckAnswer(error=(found["error"][0], found["error"][1]))
        return CheckAnswer(
            {
                key: tf.io.parse_tensor((self._work / file).read_bytes(), dtype)
                for key, (file, dtype) in found["outputs"].items()
            }
        )


def _sites() -> list[str]:
    """Return the directories of installed packages, without any directory of the user's program."""
    home = str(Path(tf.__file__).resolve().parents[1])
    return list(dict.fromkeys([home, *(path for path in sys.path if Path(path).name in _SITES)]))


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**own, **HIDDEN_DEVICES, "TF_CPP_MIN_LOG_LEVEL": "2"}
