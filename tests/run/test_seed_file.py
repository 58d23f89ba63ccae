"""The seed of a run: drawn once, whole or missing, and the same for all processes."""

from __future__ import annotations

import errno
import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.run.seed_file import LARGEST_SEED, keep_seed, read_seed, remove_seed_drafts
from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import Operation
from ckptkit.testing import FaultyFiles, PowerLoss, all_lost, nothing_lost

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout(tmp_path / "runs" / "one")


class Killed(BaseException):
    """No code handles it, so nothing is cleaned up."""


class ActsBefore(FileSystem):
    """A disk on which something happens before an operation, counted from 1."""

    def __init__(self, at: int, act) -> None:
        self.left, self.act = at, act

    def do(self, step: Operation) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()
        super().do(step)


def names(layout: RunLayout) -> list[str]:
    return sorted(path.name for path in layout.root.iterdir()) if layout.root.exists() else []


def operations(layout: RunLayout) -> int:
    files = FaultyFiles()
    keep_seed(files, layout, lambda: 1)
    return len(files.steps)


def test_it_is_drawn_once(layout, seed):
    drawn = random.Random(seed).randint(1, LARGEST_SEED)
    assert read_seed(layout) is None
    assert not layout.root.exists()
    assert keep_seed(FaultyFiles(), layout, lambda: drawn) == drawn
    assert keep_seed(FaultyFiles(), layout, lambda: pytest.fail("drawn again")) == drawn
    assert read_seed(layout) == drawn
    assert names(layout) == ["seed"]


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_disk_that_refuses_is_an_error_and_leaves_nothing(layout, error):
    for at in itertools.count(1):
        files = FaultyFiles()
        files.fail(error, at=at)
        try:
            keep_seed(files, layout, lambda: 5)
        except StorageError as refused:
            number = refused.errno
        else:
            break
        assert number == error
        assert [name for name in names(layout) if name != "seed"] == []
        # After the rename the seed is there, whether or not its sync was refused.
        kept = read_seed(layout)
        assert keep_seed(FaultyFiles(), layout, lambda: 6) == (kept or 6)
        (layout.seed / "seed.json").unlink()
        layout.seed.rmdir()
        layout.root.rmdir()
        layout.root.parent.rmdir()
    assert at >= 8


def test_a_seed_is_read_from_storage_that_refuses_every_change(layout):
    keep_seed(FaultyFiles(), layout, lambda: 5)
    files = FaultyFiles()
    files.fail(errno.EROFS, times=None)
    assert keep_seed(files, layout, lambda: 6) == 5


def test_a_kill_before_any_operation_leaves_a_whole_seed_or_none(tmp_path):
    def die() -> None:
        raise Killed

    whole = 0
    for at in range(1, operations(RunLayout(tmp_path / "counted" / "one")) + 1):
        layout = RunLayout(tmp_path / str(at) / "one")
        with pytest.raises(Killed):
            keep_seed(ActsBefore(at, die), layout, lambda: 5)
        kept = read_seed(layout)
        whole += kept == 5
        assert keep_seed(FaultyFiles(), layout, lambda: 6) == (kept or 6)
        remove_seed_drafts(FaultyFiles(), layout)
        assert names(layout) == ["seed"]
    assert whole


def test_lost_power_takes_no_seed_that_was_returned(layout, tmp_path):
    disk, files = PowerLoss(tmp_path), FaultyFiles()
    keep_seed(files, layout, lambda: 5)
    content, absent = (layout.seed / "seed.json").read_bytes(), 0
    for number, step in enumerate(files.steps, start=1):
        disk.follow([step])
        for decide in (
            all_lost,
            nothing_lost,
            *(random.Random(each).randrange for each in range(100)),
        ):
            left = disk.left(decide)
            assert "runs/one/seed" not in left, "an empty directory"
            if "runs/one/seed/seed.json" in left:
                assert left["runs/one/seed/seed.json"] == content
            else:
                absent += 1
                assert number < len(files.steps), "it is returned from here on"
    assert absent


def test_a_process_that_was_slower_takes_the_seed_of_the_faster(tmp_path):
    slower = 0
    for at in range(1, operations(RunLayout(tmp_path / "counted" / "one")) + 1):
        layout = RunLayout(tmp_path / str(at) / "one")
        fast: list[int] = []

        def other(layout=layout, fast=fast) -> None:
            fast.append(keep_seed(FaultyFiles(), layout, lambda: 7))
            remove_seed_drafts(FaultyFiles(), layout)  # as the one that opens the run does

        slow = keep_seed(ActsBefore(at, other), layout, lambda: 5)
        assert [slow] == fast == [read_seed(layout)]
        slower += slow == 7
        assert names(layout) == ["seed"]
    assert slower


PROCESS = """
import sys
from pathlib import Path
from ckptkit.layout import RunLayout
from ckptkit.run.seed_file import keep_seed
from ckptkit.storage.files import DISK
print("ready", flush=True)
for name in sys.stdin.readline().split():
    print(keep_seed(DISK, RunLayout(Path(name)), lambda: int(sys.argv[1])), flush=True)
"""


def test_processes_at_the_same_time_agree(tmp_path):
    runs = [str(tmp_path / f"run-{number}") for number in range(50)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in (1, 2, 3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write(" ".join(runs) + "\n")
        process.stdin.flush()
    returned = [process.communicate(timeout=60)[0].split() for process in processes]
    assert returned == [[str(read_seed(RunLayout(Path(run)))) for run in runs]] * 3


def test_damage_is_an_error_and_never_another_seed(layout, seed):
    keep_seed(FaultyFiles(), layout, lambda: 123_456_789)
    path, chance = layout.seed / "seed.json", random.Random(seed)
    whole = path.read_bytes()
    broken = [whole[: chance.randrange(len(whole))] for _ in range(20)]
    for _ in range(200):
        place = chance.randrange(8 * len(whole))
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        broken.append(bytes(changed))
    for content in [*broken, b"", b"[]", b"{}", b"[" * 10_000]:
        path.write_bytes(content)
        with pytest.raises(CorruptCheckpointError, match=r"seed\.json"):
            keep_seed(FaultyFiles(), layout, lambda: 1)
        assert path.read_bytes() == content


def test_a_newer_format_is_named(layout):
    layout.seed.mkdir(parents=True)
    (layout.seed / "seed.json").write_text('{"format_version": 2, "seeds": [1, 2]}')
    with pytest.raises(CorruptCheckpointError, match="format version 2; this ckptkit reads up to"):
        read_seed(layout)


def test_something_else_of_its_name_is_an_error_that_says_what_to_do(layout):
    layout.root.mkdir(parents=True)
    layout.seed.write_text("42")
    with pytest.raises(StorageError, match=r"seed: Not a directory\. .* move it away"):
        keep_seed(FaultyFiles(), layout, lambda: 1)
    layout.seed.unlink()
    layout.seed.mkdir()
    with pytest.raises(StorageError, match=r"directory without that file\. Move it away"):
        keep_seed(FaultyFiles(), layout, lambda: 1)
    assert names(layout) == ["seed"]


def test_drafts_stay_as_long_as_there_is_no_seed(layout):
    draft = layout.seed_draft("0a")
    draft.mkdir(parents=True)
    remove_seed_drafts(FaultyFiles(), layout)
    assert draft.exists()
    keep_seed(FaultyFiles(), layout, lambda: 1)
    remove_seed_drafts(FaultyFiles(), layout)
    assert names(layout) == ["seed"]
