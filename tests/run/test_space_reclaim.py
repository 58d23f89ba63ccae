"""Room before a save: in which order, how much, and what may not be touched for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership.reader_leases import held
from ckptkit.policies import Candidate
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.pins import Pin, pin
from ckptkit.run.save_target import SaveContext
from ckptkit.run.space_reclaim import expected_bytes, make_room
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.storage.files import FileSystem, storage_errors
from tests.support.stored_run import start_attempt

SIZE = 1000


class Disk(FileSystem):
    """A disk of a size of its own: what lies in `checkpoints/` counts.

    Args:
        capacity_bytes: its size, or None where it does not tell.
    """

    def __init__(self, capacity_bytes: int | None) -> None:
        self.capacity_bytes = capacity_bytes
        self.renamed: list[str] = []

    def rename(self, source: Path, target: Path) -> None:
        self.renamed.append(source.name)
        super().rename(source, target)

    def free_bytes(self, path: Path) -> int | None:
        if self.capacity_bytes is None:
            return None
        return self.capacity_bytes - sum(
            file.stat().st_size for file in path.rglob("*") if file.is_file()
        )


def room(
    layout: RunLayout, files: FileSystem, policy: ckptkit.KeepLatest | None = None
) -> SaveContext:
    return SaveContext(
        files,
        CheckpointIndex(layout),
        start_attempt(FileSystem(), layout, SystemClock()),
        ckptkit.KeepLatest(2) if policy is None else policy,
    )


def used(layout: RunLayout) -> int:
    return sum(file.stat().st_size for file in layout.checkpoints.rglob("*") if file.is_file())


def steps(layout: RunLayout) -> list[int]:
    return [c.step for c in list_checkpoints(layout)]


def told(layout: RunLayout) -> list[events.SpaceShort]:
    return [event for event in read_journal(layout).events if isinstance(event, events.SpaceShort)]


COMING = Candidate(name="ckpt-500-9", step=500)


@pytest.fixture
def four(save, layout):
    for step in (100, 200, 300, 400):
        save(step, content=bytes(SIZE))
    return layout


def test_the_next_one_takes_what_the_newest_takes(save, layout):
    assert expected_bytes(CheckpointIndex(layout), 7) == 7
    save(100, content=bytes(SIZE))
    path = save(200, content=bytes(3 * SIZE))
    assert expected_bytes(CheckpointIndex(layout), 7) == sum(
        file.stat().st_size for file in path.iterdir()
    )
    (path / "manifest.json").write_text("{")
    assert 1000 < expected_bytes(CheckpointIndex(layout), 7) < 3000


@pytest.mark.parametrize(
    "capacity", [10**9, None], ids=["room enough", "a disk that does not tell"]
)
def test_where_it_fits_nothing_happens(four, capacity):
    (four.checkpoints / ".removing-ckpt-5-1").mkdir()
    make_room(room(four, Disk(capacity)), COMING, 0)
    assert steps(four) == [100, 200, 300, 400]
    assert told(four) == []
    assert (four.checkpoints / ".removing-ckpt-5-1").exists()


def test_left_overs_first(four, caplog):
    caplog.set_level("INFO", logger="ckptkit")
    made = room(four, Disk(0))
    for name in (".removing-ckpt-5-1", f".writing-{made.journal.attempt}", ".writing-77"):
        (four.checkpoints / name).mkdir()
        (four.checkpoints / name / "x").write_bytes(bytes(2 * SIZE))
    made.files.capacity_bytes = used(four)
    make_room(made, COMING, 0)
    assert steps(four) == [100, 200, 300, 400], "that was enough"
    assert (four.checkpoints / ".writing-77").exists(), "it may be a live writer's"
    (event,) = told(four)
    assert (event.step, event.free_bytes, len(event.removed)) == (500, 0, 2)
    assert event.needed_bytes == expected_bytes(CheckpointIndex(four), 0)
    assert "little space for step 500" in caplog.text


def test_then_what_the_policy_gives_up_oldest_first_and_no_more_than_needed(four):
    make_room(room(four, Disk(used(four))), COMING, 0)
    assert steps(four) == [200, 300, 400]
    reasons = [
        event.reason for event in read_journal(four).events if isinstance(event, events.TakenAway)
    ]
    assert reasons == ["older than the latest 2"]
    assert told(four)[0].removed == ["removed ckpt-100-1 (older than the latest 2)"]


@pytest.mark.parametrize(("keep", "left"), [(1, [400]), (2, [400]), (3, [300, 400])])
def test_as_if_the_next_one_were_there_but_never_the_newest(four, keep, left):
    make_room(room(four, Disk(0), ckptkit.KeepLatest(keep)), COMING, 0)
    assert steps(four) == left


def test_pinned_and_read_ones_stay(four):
    pin(FileSystem(), four, CheckpointName(100, 1), Pin())
    disk = Disk(0)
    made = room(four, disk, ckptkit.KeepLatest(1))
    with held(four, CheckpointName(200, 1)):
        make_room(made, COMING, 0)
    assert steps(four) == [100, 200, 400]
    assert disk.renamed == ["ckpt-300-1"], "not even for a moment"


def test_where_the_disk_has_refused_its_figures_do_not_count(four):
    """A quota refuses while the file system has space."""
    make_room(room(four, Disk(10**9)), COMING, 0, refused=True)
    assert steps(four) == [400]


def test_where_there_is_nothing_to_take_away_that_is_said(save, layout, caplog):
    save(100)
    make_room(room(layout, Disk(0)), COMING, 0)
    assert steps(layout) == [100]
    assert "nothing can be removed" in caplog.text
    assert told(layout)[0].removed == []


class Stubborn(Disk):
    """Neither tells its space nor removes anything."""

    def free_bytes(self, path):
        with storage_errors("read the free space of", path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def remove_tree(self, path):
        if path.exists():
            self.free_bytes(path)


@pytest.mark.parametrize("refused", [False, True])
def test_what_fails_here_costs_no_save(four, refused, caplog):
    make_room(room(four, Stubborn(0)), COMING, 0, refused=refused)
    assert steps(four) == [100, 200, 300, 400]
    assert told(four) == []
    assert "make room for the next checkpoint" in caplog.text


def test_the_real_disk_tells(tmp_path):
    free = FileSystem().free_bytes(tmp_path)
    assert free is not None
    assert free > 0
    with pytest.raises(ckptkit.StorageError, match="Could not read the free space"):
        FileSystem().free_bytes(tmp_path / "missing")
