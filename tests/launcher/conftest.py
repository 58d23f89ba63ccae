"""Launchers as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from ckptkit.layout import run_layout
from ckptkit.run.events import Event
from ckptkit.run.journal_reader import read_journal
from tests.launcher.metadata import Metadata, metadata

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("child.py")
TIMEOUT_SECS = 60.0


class Launched:
    """`ckptkit run` over one training.

    Args:
        command: of the launcher.
        directory: where it runs; the run is in `run` there.
        environment: of the process.
        options: for `subprocess.Popen`.
    """

    def __init__(
        self, command: Sequence[str], directory: Path, environment: dict[str, str], **options: Any
    ) -> None:
        self.directory, self.run = directory, directory / "run"
        self._files = {name: directory / name for name in ("stdout", "stderr")}
        streams = {name: path.open("ab") for name, path in self._files.items()}
        try:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                **{**streams, **options},
            )
        finally:
            for stream in streams.values():
                stream.close()

    @property
    def stdout(self) -> str:
        return self._files["stdout"].read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._files["stderr"].read_text(errors="replace")

    def wait(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it still runs\n{self.stdout}\n{self.stderr}") from None

    def until(self, condition: Callable[[], object]) -> None:
        """Returns when something holds."""
        end = time.monotonic() + TIMEOUT_SECS
        while not condition():
            assert time.monotonic() < end, f"it did not come to that\n{self.stdout}\n{self.stderr}"
            time.sleep(0.005)

    def never(self, condition: Callable[[], object], secs: float) -> None:
        """Nothing like that holds for so long."""
        end = time.monotonic() + secs
        while time.monotonic() < end:
            assert not condition(), f"{self.stdout}\n{self.stderr}"
            time.sleep(0.05)

    def waits(self, name: str = "go") -> Launched:
        """Returns when the training waits for this file."""
        self.until((self.run / f"{name}.here").exists)
        return self

    def go_on(self, name: str = "go") -> Launched:
        (self.run / name).touch()
        return self

    @property
    def pids(self) -> list[int]:
        """Of the trainings that were started."""
        path = self.run / "starts"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def told(self, kind: type[Event]) -> list[Any]:
        """What the journal tells of one kind."""
        return [
            event for event in read_journal(run_layout(self.run)).events if isinstance(event, kind)
        ]

    def signals(self) -> list[list[Any]]:
        """What `note` has written down."""
        path = self.run / "signals"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self) -> None:
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            for process in [*children, self.process]:
                process.kill()
            self.process.wait()


@pytest.fixture
def server() -> Iterator[Metadata]:
    """What the clouds' metadata servers say."""
    with metadata() as state:
        yield state


Launch = Callable[..., Launched]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """`launch("open", "step", "exit:1", options=[...])`: a launcher over `child.py` with these
    words; over `command` where that is given.
    """
    started: list[Launched] = []

    def launch(
        *words: str,
        options: Sequence[str] = (),
        command: Sequence[str] | None = None,
        named: bool = True,
        before: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        **more: Any,
    ) -> Launched:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("CKPTKIT_")
        }
        settings = [
            "--notices",
            "off",
            "--backoff-secs",
            "0.02",
            *(["--run", "run"] if named else []),
            *options,
        ]
        training = command or [sys.executable, "-S", str(CHILD), "run", *words]
        started.append(
            Launched(
                [*before, sys.executable, "-m", "ckptkit", "run", *settings, "--", *training],
                tmp_path,
                {**kept, "PYTHONPATH": str(ROOT), **(environment or {})},
                **more,
            )
        )
        return started[-1]

    yield launch
    for each in started:
        each.end()


def is_there(pid: int) -> bool:
    """Whether a process lives."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


SIGNALS = [
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGHUP,
    signal.SIGCONT,
    signal.SIGINT,
    signal.SIGTERM,
]
