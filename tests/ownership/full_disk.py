"""What works on a disk without a free block or inode. A process of its own, for it mounts one.

    python -m tests.ownership.full_disk PROGRAM DIRECTORY ARGUMENT...

prints one JSON object.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ckptkit
from ckptkit.cli import main as command
from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership.claims import list_claims
from ckptkit.ownership.machine_identity import Machine
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.journal_reader import read_journal
from ckptkit.storage.files import FileSystem
from ckptkit.testing import FakeClock
from tests.campaigns.crash.run_process import RunProcess
from tests.support import machine

SIZE_BYTES, INODES = 2_000_000, 300
ELSEWHERE = Machine("elsewhere", "1")


@contextmanager
def other_process() -> Iterator[None]:
    """The block runs in a process that is killed at its end."""
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        raise _InTheChild
    try:
        yield
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


class _InTheChild(BaseException):
    """Skips the block in the parent."""


def train(process: RunProcess, steps: list[int], claim: str) -> None:
    """An attempt that saves, and ends in one of the ways in which an attempt can end.

    Args:
        process: of the run.
        steps: at which it saves.
        claim: what is left of its claim: `dead`, `released`, `silent` (of another machine),
            `released elsewhere`, or `none`.
    """
    with contextlib.suppress(_InTheChild), other_process():
        process.begin(ELSEWHERE if claim in ("silent", "released elsewhere") else None)
        for step in steps:
            process.save(step, step)
        if claim.startswith("released"):
            process._lock.release()
    if claim == "none":
        FileSystem().remove_tree(process.layout.lock)


def fill(directory: Path, shortage: str) -> None:
    """Leaves no free block, or no free inode, or neither."""
    directory.mkdir(exist_ok=True)
    if shortage in ("bytes", "both"):
        with contextlib.suppress(OSError), (directory / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    if shortage in ("inodes", "both"):
        with contextlib.suppress(OSError):
            for number in range(10 * INODES):
                (directory / str(number)).touch(exist_ok=False)
    found = os.statvfs(directory)
    assert (found.f_bfree == 0) == (shortage != "inodes"), found
    assert (found.f_ffree == 0) == (shortage != "bytes"), found


def process_on_small_disk(directory: str) -> RunProcess:
    machine.small_disk(Path(directory), SIZE_BYTES, INODES)
    return RunProcess(Path(directory), FileSystem())


def looked_at(layout: RunLayout) -> dict[str, Any]:
    return {
        "steps": [checkpoint.step for checkpoint in list_checkpoints(layout)],
        "hidden": sorted(path.name for path in layout.checkpoints.glob(".writing-*")),
        "events": [event.event for event in read_journal(layout).events],
        "claims": [claim.number for claim in list_claims(layout)],
        "debris": sorted(path.name for path in layout.lock.glob(".*")),
    }


def start(directory: str, shortage: str, claim: str) -> dict[str, Any]:
    """A start on a disk that the save of a dead process has filled."""
    process = process_on_small_disk(directory)
    train(process, [10], claim)
    fill(process.layout.writing(1), shortage)
    process.begin()
    process.save(20, 20)
    return looked_at(process.layout)


def call(*arguments: str) -> dict[str, Any]:
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        code = command(list(arguments))
    return {"code": code, "stderr": error.getvalue()}


def prune(directory: str, shortage: str, claim: str) -> dict[str, Any]:
    process = process_on_small_disk(directory)
    train(process, [10, 20, 30], claim)
    fill(Path(directory) / "others", shortage)
    done = call("prune", str(process.layout.root), "--keep-latest", "1", "--yes")
    return {**done, **looked_at(process.layout)}


def rollback(directory: str, shortage: str, claim: str) -> dict[str, Any]:
    """With a left-over of ours to remove if there is no inode: the command needs two for itself."""
    process = process_on_small_disk(directory)
    train(process, [10, 20, 30], claim)
    fill(
        process.layout.writing(1) if shortage == "inodes" else Path(directory) / "others", shortage
    )
    done = call("rollback", str(process.layout.root), "10", "--yes")
    return {**done, **looked_at(process.layout)}


def owner_is_running(directory: str, shortage: str) -> dict[str, Any]:
    """What belongs to a running process stays, and so does its claim."""
    process = process_on_small_disk(directory)
    process.begin().save(10, 10)
    fill(process.layout.writing(1), shortage)
    refused = []
    for _ in range(2):
        try:
            RunLock(FileSystem(), process.layout, FakeClock())
        except ckptkit.RunLockedError as error:
            refused.append(str(error))
    pruned = call("prune", str(process.layout.root), "--keep-latest", "1", "--yes")
    process._lock.check()
    return {"refused": refused, **pruned, **looked_at(process.layout)}


def race(directory: str, shortage: str, claim: str, count: str) -> dict[str, Any]:
    """Several processes start at once on a full disk."""
    process = process_on_small_disk(directory)
    train(process, [10], claim)
    fill(process.layout.writing(1), shortage)
    go_read, go_write = os.pipe()
    said_read, said_write = os.pipe()
    stay_read, stay_write = os.pipe()
    for _ in range(int(count)):
        if os.fork() == 0:
            os.close(go_write)
            os.close(stay_write)
            os.read(go_read, 1)
            word = b"?"
            try:
                lock = RunLock(FileSystem(), process.layout, SystemClock())
                lock.check()
                word = b"1"
            except ckptkit.RunLockedError:
                word = b"0"
            finally:
                os.write(said_write, word)
                os.read(stay_read, 1)
                os._exit(0)
    os.close(said_write)
    os.close(go_write)
    said = b""
    while len(said) < int(count):
        said += os.read(said_read, 1)
    found = looked_at(process.layout)
    os.close(stay_write)
    return {"owners": said.count(b"1"), "refused": said.count(b"0"), **found}


def silent_owner_stays_fenced(directory: str, again: str) -> dict[str, Any]:
    """A start takes over from a silent owner, finds no space, and gives up; the next one fences."""
    process = process_on_small_disk(directory)
    train(process, [10, 20, 30], "silent")
    fill(Path(directory) / "others", "both")
    try:
        process.begin()
        refused = ""
    except ckptkit.StorageError as error:
        refused = str(error)
    process._lock.release()
    if again == "a prune between":
        call("prune", str(process.layout.root), "--keep-latest", "1", "--yes")
    else:
        FileSystem().remove_tree(Path(directory) / "others")
    process.begin()
    fenced = process.layout.fence(process.journal.attempt).exists()
    late = RunProcess(Path(directory), FileSystem())
    late.journal = process.journal
    (late.layout.writing(1)).mkdir()
    late.layout.writing(1).rename(late.layout.checkpoint(CheckpointName(90, 1)))
    return {"refused": refused, "fenced": fenced, **looked_at(process.layout)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
