"""Processes that tests start, watch, signal and wait for."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

TIMEOUT_SECS = 120.0
"""For one process: generous, since a test machine may be slow; a hang still ends before pytest's
own limit.
"""

ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONUNBUFFERED": "1",
}


class Process:
    """A process that a `ForkServer` has started.

    Attributes:
        pid: its process id; it leads a session and process group of its own.
        directory: where its output files are; its working directory too, unless another was asked
            for.
    """

    def __init__(self, connection: socket.socket, directory: Path, name: str) -> None:
        self._connection = connection
        self._name = name
        self._code: int | None = None
        self._received = b""
        self.directory = directory
        started = self._message(TIMEOUT_SECS)  # the first request imports TensorFlow
        if "error" in started:
            raise RuntimeError(f"{name} was not started: {started['error']}")
        self.pid = int(started["pid"])

    def __repr__(self) -> str:
        return f"<{self._name}, process {self.pid}, exit code {self._code}>"

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        """What it has written so far."""
        return self._read("stderr")

    @property
    def result(self) -> Any:
        """What the function has returned."""
        return json.loads(self._read("result"))

    def _read(self, name: str) -> str:
        return (self.directory / name).read_text(errors="replace")

    def send_signal(self, number: int) -> None:
        """Sends a signal to this process alone; nothing, once its end is known."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> int:
        """Ends it at once, and returns its exit code."""
        self.send_signal(signal.SIGKILL)
        return self.wait()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with contextlib.suppress(TimeoutError):
            self.wait(0.001)
        return self._code

    def wait(self, timeout: float = TIMEOUT_SECS) -> int:
        """Waits for its end.

        Returns:
            The exit code; the negative number of the signal if one has killed it.

        Raises:
            TimeoutError: If it still runs after `timeout` seconds; with what it has written.
        """
        if self._code is None:
            try:
                self._code = int(self._message(timeout)["code"])
            except TimeoutError:
                raise TimeoutError(
                    f"{self!r} still runs after {timeout:g} s\n{self.output()}"
                ) from None
            self._connection.close()
        return self._code

    def _message(self, timeout: float) -> dict[str, Any]:
        """The server's next line."""
        self._connection.settimeout(timeout)
        while b"\n" not in self._received:
            chunk = self._connection.recv(4096)
            if not chunk:
                raise RuntimeError("the fork server has ended")
            self._received += chunk
        line, self._received = self._received.split(b"\n", 1)
        return dict(json.loads(line))

    def check(self, timeout: float = TIMEOUT_SECS, code: int = 0) -> Process:
        """Wait for the end; fail with the output if the exit code is a different one."""
        received = self.wait(timeout)
        assert received == code, f"{self!r}: expected exit code {code}\n{self.output()}"
        return self

    def wait_for_output(self, pattern: str, timeout: float = TIMEOUT_SECS) -> re.Match[str]:
        """Waits until the pattern is found in what it has written to either stream.

        Raises:
            AssertionError: If it has ended, or `timeout` seconds have passed, without that.
        """
        end = time.monotonic() + timeout
        while True:
            code = self.poll()
            for text in (self.stdout, self.stderr):
                if match := re.search(pattern, text, re.MULTILINE):
                    return match
            assert code is None, (
                f"{self!r} has ended without {pattern!r} in its output\n{self.output()}"
            )
            assert time.monotonic() < end, (
                f"{self!r} has not written {pattern!r} in {timeout:g} s\n{self.output()}"
            )
            time.sleep(0.01)

    def output(self) -> str:
        """Both streams, for a message."""
        return f"-- stdout of {self._name}\n{self.stdout}-- stderr of {self._name}\n{self.stderr}--"


class ForkServer:
    """Starts processes; see `tests/support/forkserver.py` for what they are and where they differ
    from `python script.py`.

    The server runs as long as this object is open, or as the process that made it lives.
    """

    def __init__(self) -> None:
        self._directory = Path(
            tempfile.mkdtemp(prefix="ckptkit-tests-")
        )  # a socket's path may have 107 characters at most
        self._count = 0
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
        for name in [name for name in self._environment if name.startswith("PYTEST_")]:
            del self._environment[name]
        with (self._directory / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("forkserver.py")), self.address],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def address(self) -> str:
        """Its socket, for those that speak to it themselves."""
        return str(self._directory / "socket")

    @property
    def pid(self) -> int:
        """The server's own process id."""
        return self._server.pid

    def run(
        self,
        script: str | Path,
        *args: object,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """A script in a forked child.

        Args:
            script: a file, or a program's text.
            *args: for `sys.argv`.
            env: what is added to the environment; None removes a variable.
            cwd: the working directory.
        """
        directory = self._make_directory()
        return self._start(
            directory, env, cwd, fresh=False, argv=[self._file(directory, script), *map(str, args)]
        )

    def call(
        self,
        function: str,
        *args: object,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """A function in a forked child; `result` is what it returns.

        Args:
            function: `package.module:function`.
            *args: what JSON can hold.
            env, cwd: as in `run`.
        """
        return self._start(
            self._make_directory(), env, cwd, fresh=False, function=function, args=args
        )

    def fresh(
        self,
        script: str | Path,
        *args: object,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """A new Python, which shares nothing.

        Args:
            script: a file, or a program's text; or an option of Python, as in `fresh("-m",
                "ckptkit.cli", "list", run)`.
            *args: what follows.
            env, cwd: as in `run`.
        """
        directory = self._make_directory()
        first = (
            script
            if isinstance(script, str) and script.startswith("-")
            else self._file(directory, script)
        )
        return self._start(directory, env, cwd, fresh=True, argv=[first, *map(str, args)])

    def close(self) -> None:
        """Ends the server and everything that it has started and that still runs."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)

    def _make_directory(self) -> Path:
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        return directory

    @staticmethod
    def _file(directory: Path, script: str | Path) -> str:
        if isinstance(script, Path):
            return str(script.absolute())
        path = directory / "script.py"
        path.write_text(textwrap.dedent(script))
        return str(path)

    def _start(
        self,
        directory: Path,
        env: Mapping[str, str | None] | None,
        cwd: Path | None,
        **request: Any,
    ) -> Process:
        for name in ("stdout", "stderr"):
            (directory / name).touch()
        environment = {**self._environment, **(env or {})}
        defaults = {
            "argv": [request.get("function")],
            "function": None,
            "args": [],
            "root": str(ROOT),
        }
        message = {
            **defaults,
            **request,
            "cwd": str(cwd or directory),
            "stdout": str(directory / "stdout"),
            "stderr": str(directory / "stderr"),
            "result": str(directory / "result"),
            "env": {name: value for name, value in environment.items() if value is not None},
        }
        connection = self._connect()
        connection.sendall(json.dumps(message).encode() + b"\n")
        return Process(connection, directory, str(message["argv"][0]))

    def _connect(self) -> socket.socket:
        end = time.monotonic() + 60
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.address)
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                log = (self._directory / "server.log").read_text(errors="replace")
                assert self._server.poll() is None, (
                    f"the fork server has ended with {self._server.returncode}\n{log}"
                )
                assert time.monotonic() < end, f"the fork server does not listen\n{log}"
                time.sleep(0.01)
            else:
                return connection
