"""Killed inside TensorFlow's own writing, which is C++ and passes through no seam of ours: `strace`
does it, at the n-th call of the system.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem

CALLS = (
    "openat,open,creat,write,pwrite64,writev,rename,renameat,renameat2,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,fsync,fdatasync,ftruncate"
)
FIRST, LAST = 1, 3
PROGRAM = Path(__file__).with_name("saving_program.py")

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def strace(tmp_path_factory):
    """The program, where it is there and may trace."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    log = tmp_path_factory.mktemp("strace") / "log"
    done = subprocess.run(
        [path, "-f", "-o", log, "-e", "trace=openat", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not log.read_text():
        pytest.skip(f"strace may not trace here: {done.stderr}")
    return path


def traced(strace, fork_server, directory, *inject):
    """Runs the program, traced from its first save on; returns it when it has ended, and the lines
    of the trace.
    """
    directory.mkdir()
    process = fork_server.run(PROGRAM, directory / "run", FIRST, LAST, cwd=directory)
    process.wait_for_output("ready")
    log = directory / "trace"
    command = [
        strace,
        "-f",
        "-p",
        str(process.pid),
        "-o",
        str(log),
        "-e",
        f"trace={CALLS}",
        *inject,
    ]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    while "attached" not in tracer.stderr.readline():
        assert tracer.poll() is None
    time.sleep(0.05)
    (directory / "go").touch()
    code = process.wait(60)
    tracer.wait(60)
    return process, code, log.read_text().splitlines()


def test_killed_inside_tensorflows_writing(strace, fork_server, tmp_path):
    process, code, lines = traced(strace, fork_server, tmp_path / "whole")
    assert code == 0, process.output()
    checkpoints = str(tmp_path / "whole" / "run" / "checkpoints")
    assert [line for line in lines if f"{checkpoints}/.writing-1/ckpt" in line], (
        "TensorFlow's own calls are in the trace"
    )
    calls: Counter[tuple[str, str]] = (
        Counter()
    )  # strace counts the calls of each thread by themselves
    for line in lines:
        if match := re.match(r"(\d+) +(\w+)\(", line):
            calls[match[1], match[2]] += 1
    most = {
        call: max(count for (_, name), count in calls.items() if name == call) for _, call in calls
    }
    print("calls of one thread at most:", most)
    points = [(call, number) for call, count in sorted(most.items()) for number in spread(count)]
    killed = 0
    for call, number in points:
        directory = tmp_path / f"{call}-{number}"
        process, code, lines = traced(
            strace, fork_server, directory, "-e", f"inject={call}:signal=SIGKILL:when={number}"
        )
        killed += code == -9
        confirmed = [FIRST, *map(int, re.findall(r"confirmed (\d+)", process.stdout))]
        layout = RunLayout(directory / "run")
        clean_up(FileSystem(), layout)
        found = list_checkpoints(layout)
        for checkpoint in found:
            verify(checkpoint)
        assert found[-1].step in (confirmed[-1], confirmed[-1] + 1), (
            f"killed at {call} {number}: {found}; confirmed {confirmed}"
        )
        assert not [path for path in layout.checkpoints.iterdir() if path.name.startswith(".")], (
            f"killed at {call} {number}"
        )
        after = fork_server.run(PROGRAM, directory / "run", 0, 0, cwd=directory).check()
        assert f"restored {found[-1].step}" in after.stdout
        shutil.rmtree(directory)
    print(f"{len(points)} points, {killed} killed")
    assert killed >= 0.8 * len(points) >= 20, "a count that another run does not reach kills nobody"


def spread(count: int) -> list[int]:
    """Some of the numbers from 1 to `count`: the first, the last, and between."""
    return sorted(
        {1, 2, *(1 + (count - 1) * part // 7 for part in range(8))} & set(range(1, count + 1))
    )
