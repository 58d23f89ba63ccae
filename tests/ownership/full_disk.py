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
from ckptkit.ownership.machine import Machine
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.catalog import list_checkpoints
from ckptkit.run.journal import read_journal
from ckptkit.storage.files import FileSystem
from ckptkit.testing import FakeClock
from tests.campaigns.crash.story import Story
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


def train(story: Story, steps: list[int], claim: str) -> None:
    """An attempt that saves, and ends in one of the ways in which an attempt can end.

    Args:
        story: of the run.
        steps: at which it saves.
        claim: what is left of its claim: `dead`, `released`, `silent` (of another machine),
            `released elsewhere`, or `none`.
    """
    with contextlib.suppress(_InTheChild), other_process():
        story.begin(ELSEWHERE if claim in ("silent", "released elsewhere") else None)
        for step in steps:
            story.save(step, step)
        if claim.startswith("released"):
            story._lock.release()
    if claim == "none":
        FileSystem().remove_tree(story.layout.lock)


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


def story_on_small_disk(directory: str) -> Story:
    machine.small_disk(Path(directory), SIZE_BYTES, INODES)
    return Story(Path(directory), FileSystem())


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
    story = story_on_small_disk(directory)
    train(story, [10], claim)
    fill(story.layout.writing(1), shortage)
    story.begin()
    story.save(20, 20)
    return looked_at(story.layout)


def call(*arguments: str) -> dict[str, Any]:
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        code = command(list(arguments))
    return {"code": code, "stderr": error.getvalue()}


def prune(directory: str, shortage: str, claim: str) -> dict[str, Any]:
    story = story_on_small_disk(directory)
    train(story, [10, 20, 30], claim)
    fill(Path(directory) / "others", shortage)
    done = call("prune", str(story.layout.root), "--keep-latest", "1", "--yes")
    return {**done, **looked_at(story.layout)}


def rollback(directory: str, shortage: str, claim: str) -> dict[str, Any]:
    """With a left-over of ours to remove if there is no inode: the command needs two for itself."""
    story = story_on_small_disk(directory)
    train(story, [10, 20, 30], claim)
    fill(story.layout.writing(1) if shortage == "inodes" else Path(directory) / "others", shortage)
    done = call("rollback", str(story.layout.root), "10", "--yes")
    return {**done, **looked_at(story.layout)}


def owner_is_running(directory: str, shortage: str) -> dict[str, Any]:
    """What belongs to a running process stays, and so does its claim."""
    story = story_on_small_disk(directory)
    story.begin().save(10, 10)
    fill(story.layout.writing(1), shortage)
    refused = []
    for _ in range(2):
        try:
            RunLock(FileSystem(), story.layout, FakeClock())
        except ckptkit.RunLockedError as error:
            refused.append(str(error))
    pruned = call("prune", str(story.layout.root), "--keep-latest", "1", "--yes")
    story._lock.check()
    return {"refused": refused, **pruned, **looked_at(story.layout)}


def race(directory: str, shortage: str, claim: str, count: str) -> dict[str, Any]:
    """Several processes start at once on a full disk."""
    story = story_on_small_disk(directory)
    train(story, [10], claim)
    fill(story.layout.writing(1), shortage)
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
                lock = RunLock(FileSystem(), story.layout, SystemClock())
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
    found = looked_at(story.layout)
    os.close(stay_write)
    return {"owners": said.count(b"1"), "refused": said.count(b"0"), **found}


def silent_owner_stays_fenced(directory: str, again: str) -> dict[str, Any]:
    """A start takes over from a silent owner, finds no space, and gives up; the next one fences."""
    story = story_on_small_disk(directory)
    train(story, [10, 20, 30], "silent")
    fill(Path(directory) / "others", "both")
    try:
        story.begin()
        refused = ""
    except ckptkit.StorageError as error:
        refused = str(error)
    story._lock.release()
    if again == "a prune between":
        call("prune", str(story.layout.root), "--keep-latest", "1", "--yes")
    else:
        FileSystem().remove_tree(Path(directory) / "others")
    story.begin()
    fenced = story.layout.fence(story.journal.attempt).exists()
    late = Story(Path(directory), FileSystem())
    late.journal = story.journal
    (late.layout.writing(1)).mkdir()
    late.layout.writing(1).rename(late.layout.checkpoint(CheckpointName(90, 1)))
    return {"refused": refused, "fenced": fenced, **looked_at(story.layout)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
