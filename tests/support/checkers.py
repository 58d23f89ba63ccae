"""The process that checks an export, cheaper: importing TensorFlow once is enough for many tests
that are about something else.

What is asked and answered, by which program, is the same as in an export by a user; only the
process is another one. Tests of exports themselves use
`ckptkit.export.check_process.Checker` as it is, or load what was published in a fresh process of
their own.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def use(checker: Callable[..., Any]) -> None:
    """Check exports with this class until the process ends; for a test's own process."""
    from ckptkit.export import publishing

    setattr(publishing, "Checker", checker)  # noqa: B010 - it is no export of that file


@contextmanager
def using(checker: Callable[..., Any]) -> Iterator[None]:
    """Check exports inside the block with this class."""
    from ckptkit.export import publishing

    before = getattr(publishing, "Checker")  # noqa: B009
    use(checker)
    try:
        yield
    finally:
        use(before)


@functools.cache
def shared() -> Callable[..., Any]:
    """One fresh Python for all exports of this process. It ends with this process."""
    from ckptkit.export import check_process

    started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def process() -> tuple[subprocess.Popen[bytes], Path]:
        if not started:
            work = Path(tempfile.mkdtemp())
            command = [
                sys.executable,
                "-I",
                str(check_process.CHECKER),
                str(work),
                *check_process._sites(),
            ]
            with (work / "stderr").open("wb") as said:
                started.append(
                    (
                        subprocess.Popen(
                            command,
                            stdin=subprocess.PIPE,
                            stdout=said,
                            stderr=said,
                            cwd=work,
                            env=check_process._environment(),
                            start_new_session=True,
                        ),
                        work,
                    )
                )
        return started[0]

    def write(line: bytes) -> None:
        stdin = process()[0].stdin
        assert stdin is not None
        stdin.write(line)
        stdin.flush()

    return _kind(write, lambda: process()[1])


def forked() -> Callable[..., Any]:
    """A fork of this process, which has imported TensorFlow and run nothing yet. It ends with this
    process.
    """
    from ckptkit.export import check_program

    work = Path(tempfile.mkdtemp())
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.close(writing)
        os.dup2(reading, 0)
        os.close(reading)
        sys.stdin = open(0)  # noqa: SIM115
        _forget_the_test()
        try:
            check_program.main(work, [])
        finally:
            os._exit(0)
    os.close(reading)
    os.set_inheritable(writing, False)
    return _kind(lambda line: _ignore(os.write(writing, line)), lambda: work)


def _forget_the_test() -> None:
    """Only what is installed can be imported from now on, as in a fresh process."""
    sys.path[:] = [
        path
        for path in sys.path
        if path and any(Path(path).is_relative_to(home) for home in (sys.prefix, sys.base_prefix))
    ]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]


def _ignore(_: object) -> None:
    pass


def _kind(write: Callable[[bytes], None], work: Callable[[], Path]) -> Callable[..., Any]:
    from ckptkit.export import check_process

    asked: list[int] = []

    class Cheap(check_process.Checker):
        def __enter__(self) -> Cheap:
            self._work = work()
            return self

        def _answer(self, request: bytes) -> dict[str, Any]:
            answer, end = (
                self._work / f"answer-{len(asked)}.json",
                time.monotonic() + self._limit_secs,
            )
            asked.append(1)
            write(request)
            while not answer.exists():
                self.check_time(end)
                time.sleep(0.005)
            found: dict[str, Any] = json.loads(answer.read_bytes())
            return found

    return Cheap
