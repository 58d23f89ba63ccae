"""Going back to an older checkpoint: the order in which the newer ones are moved away."""

from __future__ import annotations

import errno

import pytest

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.events import RolledBack
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.rollback import newer_than, roll_back
from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import Operation
from ckptkit.testing import FaultyFiles
from tests.support.stored_run import start_attempt

OLDEST_FIRST = ["ckpt-100-1", "ckpt-200-1", "ckpt-300-1", "ckpt-200-2", "ckpt-400-2"]
"""A second attempt went back to step 100 and overtook the first one."""


@pytest.fixture
def target(save, layout) -> Checkpoint:
    for name in OLDEST_FIRST:
        _, step, attempt = name.split("-")
        save(int(step), int(attempt))
    return list_checkpoints(layout)[0]


def names(layout: RunLayout) -> list[str]:
    return [str(checkpoint.name) for checkpoint in list_checkpoints(layout)]


def go_back(files: FileSystem, layout: RunLayout, target: Checkpoint) -> None:
    journal = start_attempt(FileSystem(), layout, SystemClock())
    roll_back(files, layout, journal, target, newer_than(layout, target))


def rolled_back(layout: RunLayout) -> list[RolledBack]:
    return [event for event in read_journal(layout).events if isinstance(event, RolledBack)]


def is_move(step: Operation) -> bool:
    return step.kind == "Rename" and step.path.name in OLDEST_FIRST


@pytest.mark.parametrize("done", range(4))
def test_an_interrupted_one_has_moved_the_newest_ones_and_can_be_repeated(layout, target, done):
    """What is left is the run as it was at an earlier moment: no checkpoint in the middle is
    missing, so a start that comes now continues from a state that led to the later ones.
    """
    files = FaultyFiles()
    files.fail(errno.EIO, at=done + 1, when=is_move)
    with pytest.raises(ckptkit.StorageError):
        go_back(files, layout, target)
    assert files.reached == 1
    assert names(layout) == OLDEST_FIRST[: len(OLDEST_FIRST) - done]
    assert rolled_back(layout) == [], "nothing is told that was not done"
    go_back(FileSystem(), layout, target)
    assert names(layout) == OLDEST_FIRST[:1]
    assert len(rolled_back(layout)) == 1


def test_each_move_is_durable_before_the_next(layout, target):
    """Else a power loss could undo the first move and not the second."""
    files = FaultyFiles()
    go_back(files, layout, target)
    moves = [number for number, step in enumerate(files.steps) if is_move(step)]
    assert len(moves) == len(OLDEST_FIRST) - 1
    for begin, end in zip(moves, [*moves[1:], len(files.steps)], strict=True):
        synced = {step.path for step in files.steps[begin:end] if step.kind == "SyncDir"}
        assert {layout.aside / "rolled-back-000003", layout.checkpoints} <= synced


def test_a_choice_that_cannot_be_written_down_is_an_error(layout, target):
    """The next start asks the journal whether the user has chosen this checkpoint."""
    files = FaultyFiles()
    journal = start_attempt(files, layout, SystemClock())
    files.fail(errno.ENOSPC, when=lambda step: step.path == journal.path)
    with pytest.raises(ckptkit.StorageError, match="Free some space"):
        roll_back(files, layout, journal, target, newer_than(layout, target))
    assert files.reached == 1
