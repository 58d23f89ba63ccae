"""`ckptkit list --follow`: a line for each change, the live list on a terminal, and an end that is
none of an error.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.cli.list_changes import changes_of_run
from ckptkit.cli.run_listing import listing_of
from ckptkit.run.events import AttemptEnded, Finished
from ckptkit.run.pins import Pin, pin, unpin
from ckptkit.run.stored_run import open_run
from ckptkit.storage.files import FileSystem
from tests.cli.conftest import DummyRun
from tests.cli.test_tree import keras

PATIENCE_SECS = 60.0


class Follower:
    """`ckptkit list ... --follow` as a process, with its lines as they come."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "ckptkit", "list", *arguments, "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self._rest = b""

    def line(self) -> str:
        """The next line."""
        until = time.monotonic() + PATIENCE_SECS
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            assert time.monotonic() < until, "no line came"
            if select.select([self.process.stdout], [], [], 1)[0]:
                more = os.read(self.process.stdout.fileno(), 65536)
                assert more, self.process.communicate()
                self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def json(self) -> dict[str, Any]:
        """The next line as an object, without its time."""
        found = json.loads(self.line())
        assert found.pop("version") == 1
        assert abs(found.pop("time") - time.time()) < PATIENCE_SECS
        return found

    def end(self, signum: int = signal.SIGINT) -> tuple[int, str]:
        """Interrupts it; returns its exit code and what it said."""
        self.process.send_signal(signum)
        _, stderr = self.process.communicate(timeout=PATIENCE_SECS)
        return self.process.returncode, stderr.decode()


@pytest.fixture
def following(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Follower]]:
    started: list[Follower] = []

    def start(*arguments: str, **options: Any) -> Follower:
        started.append(Follower(*arguments, **({"env": environment, "cwd": tmp_path} | options)))
        return started[-1]

    yield start
    for follower in started:
        if follower.process.poll() is None:
            follower.process.kill()
            follower.process.communicate()


def test_each_change_of_a_run_is_one_line(dummy_run, following):
    dummy_run.attempt()
    dummy_run.save(100)
    lines, objects = following("run"), following("run", "--json")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  run: process \d+ on elsewhere has recorded no end"
        r".*newest save is of step 100",
        lines.line(),
    )
    assert objects.json()["change"] == "state"
    saved = dummy_run.save(200, metrics={"loss": 0.25})
    assert "newest save is of step 200" in lines.line()
    assert lines.line().endswith("run: ckpt-200-1 (every 200 steps)  1.21 kB  loss 0.25")
    assert objects.json()["change"] == "state"
    assert objects.json() == {
        "change": "saved",
        "path": "run",
        "name": "ckpt-200-1",
        "step": 200,
        "size_bytes": 1208,
        "metrics": {"loss": 0.25},
        "final": False,
    }
    shutil.rmtree(saved)
    assert lines.line().endswith("run: ckpt-200-1 is gone")
    assert objects.json() == {
        "change": "taken_away",
        "path": "run",
        "name": "ckpt-200-1",
        "step": 200,
    }
    dummy_run.record(Finished(step=200, epoch=2)).record(AttemptEnded(outcome="finished", step=200))
    assert lines.line().endswith("run: finished at step 200 (2 epochs)")
    assert objects.json() == {
        "change": "state",
        "path": "run",
        "state": "finished",
        "words": "finished at step 200 (2 epochs)",
    }
    assert lines.end() == objects.end() == (130, "ckptkit: interrupted\n")


def test_a_tree_that_grows(tmp_path, following):
    (tmp_path / "runs").mkdir()
    follower = following("runs", "--json")
    time.sleep(0)
    keras(tmp_path / "runs" / "a.keras")
    assert follower.json() == {
        "change": "found",
        "path": "runs/a.keras",
        "format": "Keras model (.keras)",
        "step": None,
        "problem": None,
        "size_bytes": (tmp_path / "runs" / "a.keras").stat().st_size,
    }
    run = DummyRun(tmp_path / "runs" / "b")
    run.attempt()
    assert follower.json()["state"] == "unknown"
    run.save(100)
    assert {follower.json()["change"], follower.json()["change"]} == {"state", "saved"}
    (tmp_path / "runs" / "a.keras").unlink()
    assert follower.json() == {
        "change": "gone",
        "path": "runs/a.keras",
        "format": "Keras model (.keras)",
    }
    assert follower.end()[0] == 130


def test_who_follows_notices_that_nobody_reads(dummy_run, following):
    """Also where nothing changes any more, so that nothing is written."""
    dummy_run.attempt()
    follower = following("run")
    follower.line()
    assert follower.process.stdout is not None
    follower.process.stdout.close()
    assert follower.process.wait(PATIENCE_SECS) == 0
    assert follower.process.stderr is not None
    assert follower.process.stderr.read() == b""


def test_a_run_that_vanishes_ends_it(dummy_run, following):
    dummy_run.attempt()
    follower = following("run")
    follower.line()
    shutil.rmtree(dummy_run.root)
    assert follower.process.wait(PATIENCE_SECS) == 10


def test_a_directory_that_may_not_be_read_is_an_error(tmp_path, following, obeying):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o111)
    follower = following("locked", **obeying)
    assert follower.process.wait(PATIENCE_SECS) == 1
    assert follower.process.stderr is not None
    assert b"ermission denied" in follower.process.stderr.read()


def test_nothing_to_follow(following):
    follower = following("missing")
    assert follower.process.wait(PATIENCE_SECS) == 10


def test_the_live_list_on_a_terminal(dummy_run, tmp_path, environment):
    dummy_run.attempt()
    for step in range(1, 40):
        dummy_run.save(step)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (20, 150))
    process = subprocess.Popen(
        [sys.executable, "-m", "ckptkit", "list", "run", "--follow"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=environment | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        text = ""

        def until(wanted: str) -> None:
            nonlocal text
            last = time.monotonic() + PATIENCE_SECS
            while wanted not in text:
                assert time.monotonic() < last, text
                if select.select([ours], [], [], 1)[0]:
                    text += os.read(ours, 65536).decode()

        until("Ctrl-C to end")
        assert "of 39 checkpoints:" in text
        assert "every 39 steps" in text
        assert "every 5 steps" not in text, "no more than the terminal has lines"
        dummy_run.save(40)
        until("every 40 steps")
        process.send_signal(signal.SIGINT)
        until("interrupted")
        assert process.wait(PATIENCE_SECS) == 130
        assert text.rstrip().endswith("ckptkit: interrupted")
        assert text.count("\x1b[?25h") >= text.count("\x1b[?25l"), "the cursor is there again"
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()


def looked(run: DummyRun) -> Any:
    return listing_of(open_run(run.root), "run", time.time())


def test_every_kind_of_change(dummy_run):
    """Those that no process is worth."""
    dummy_run.attempt()
    first, _ = dummy_run.save(100), dummy_run.save(200)
    name = open_run(dummy_run.root).checkpoints[0].name
    looks = [looked(dummy_run)]

    def told() -> list[tuple[str, str]]:
        looks.append(looked(dummy_run))
        return [(change.change, change.words) for change in changes_of_run(*looks[-2:])]

    assert told() == []
    pin(FileSystem(), dummy_run.layout, name, Pin(note="x"))
    assert told() == [("pinned", "pinned ckpt-100-1")]
    unpin(FileSystem(), dummy_run.layout, name)
    assert told() == [("unpinned", "unpinned ckpt-100-1")]
    (first / "ckpt-100.index").unlink()
    ((change, words),) = told()
    assert change == "damaged"
    assert "ckpt-100.index is missing" in words
    dummy_run.layout.quarantine.mkdir()
    first.rename(dummy_run.layout.quarantine / "ckpt-100-1")
    assert told() == [("moved", "1 in quarantine/"), ("taken_away", "ckpt-100-1 is gone")]
