"""Programs that stand still, and what is asked of their runs."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.run import events
from tests.support.processes import TIMEOUT_SECS, Process

HERE = Path(__file__).parent


class Held:
    """A program that stands still at moments that were asked for.

    Args:
        process: the program.
        run: its run directory.
    """

    def __init__(self, process: Process, run: Path) -> None:
        self.process = process
        self.run = run
        self._sent = 0.0

    def wait_for(self, name: str) -> Held:
        """Wait until it stands still at `name`."""
        self._until(
            (self.process.directory / f"{name}.here").exists, f"it did not come to {name!r}"
        )
        return self

    def go_on(self, name: str) -> Held:
        """Let it continue from `name`."""
        (self.process.directory / f"{name}.go").touch()
        return self

    def signal(self, number: int) -> Held:
        """Send a signal, and return when the journal has it: the program stands still meanwhile."""
        before = len(self.received)
        self._sent = time.time()
        self.process.send_signal(number)
        self._until(
            lambda: len(self.received) > before,
            f"the journal has no {signal.Signals(number).name}",
        )
        assert self.received[-1].signal == signal.Signals(number).name
        return self

    @property
    def received(self) -> list[Any]:
        return recorded(self.run, events.SignalReceived)

    def ends(self, code: int) -> Held:
        """Wait for its end, and print how long that took."""
        sent = self._sent or time.time()
        self.process.check(code=code)
        print(f"{time.time() - sent:.2f} s from signal to exit")
        return self

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + TIMEOUT_SECS
        while not condition():
            assert self.process.poll() is None, (
                f"{otherwise}: it has ended\n{self.process.output()}"
            )
            assert time.monotonic() < end, f"{otherwise}\n{self.process.output()}"
            time.sleep(0.005)


def recorded(run: Path, kind: type[Any]) -> list[Any]:
    """Return the events of one kind in a run's journal."""
    if not run.exists():
        return []
    return [event for event in ckptkit.open_run(run).journal if isinstance(event, kind)]


@pytest.fixture
def start(tf_process, tmp_path):
    """`start("train.py", "hold", ...)`: a program on this test's run directory, which stands still
    where it is asked to.
    """

    def start(program: str, *holds: str, options: tuple[str, ...] = ()) -> Held:
        run = tmp_path / "run"
        return Held(
            tf_process(
                HERE / program, "--run", run, *options, *(("--hold", *holds) if holds else ())
            ),
            run,
        )

    return start


@pytest.fixture(scope="module")
def undisturbed(fork_server, tmp_path_factory):
    """`undisturbed("train.py")`: what a program prints where nothing happens to it."""
    printed: dict[str, Any] = {}

    def undisturbed(program: str) -> Any:
        if program not in printed:
            process = fork_server.run(
                HERE / program, "--run", tmp_path_factory.mktemp("undisturbed") / "run"
            )
            printed[program] = result(process)
        return printed[program]

    return undisturbed


def result(process: Process) -> Any:
    """What a program prints at its end."""
    return json.loads(process.check().stdout.splitlines()[-1])
