"""A left-over that cannot be removed, or damage that cannot be moved, does not stop a start."""

from __future__ import annotations

import errno
import logging

import pytest

from ckptkit.clock import SystemClock
from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.commit import begin_writing
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.quarantine import quarantine, quarantined
from ckptkit.run.run_recovery import recover
from ckptkit.testing import FaultyFiles
from tests.support.stored_run import start_attempt


@pytest.fixture
def faulty():
    return FaultyFiles()


@pytest.fixture
def left_over(layout, files):
    """Two unfinished saves of dead attempts."""
    for attempt in (1, 2):
        (begin_writing(files, layout, attempt) / "ckpt-9.index").write_bytes(b"half")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS, errno.EBUSY])
def test_a_left_over_that_cannot_be_removed(save, layout, faulty, left_over, number, caplog):
    save(5, attempt=3)
    faulty.fail(
        number,
        when=lambda step: step.kind == "Unlink" and step.path.parent == layout.writing(1),
        times=None,
    )
    lock = RunLock(faulty, layout, SystemClock())
    try:
        recover(faulty, layout, start_attempt(faulty, layout, SystemClock()), lock)
    finally:
        lock.release()
    assert faulty.reached == 1
    assert layout.writing(1).is_dir()
    assert not layout.writing(2).exists()
    assert [each.step for each in list_checkpoints(layout)] == [5]
    failed = [
        each for each in read_journal(layout).events if isinstance(each, events.TidyingFailed)
    ]
    assert [each.what for each in failed] == [f"remove the leftover {layout.writing(1).name}"]
    assert caplog.text.count("could not remove the leftover") == 1


def test_without_best_effort_the_error_is_raised(save, layout, faulty, left_over):
    faulty.fail(errno.EPERM, when=lambda step: step.kind == "Unlink")
    with pytest.raises(StorageError):
        clean_up(faulty, layout)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EROFS, errno.EACCES])
def test_a_damaged_checkpoint_that_cannot_be_moved(save, layout, faulty, number, caplog):
    save(5)
    checkpoint = list_checkpoints(layout)[0]
    faulty.fail(number, when=lambda step: step.kind == "Rename" and step.path == checkpoint.path)
    journal = start_attempt(faulty, layout, SystemClock())
    error = CorruptCheckpointError("Its index has other bytes.", "digest", "ckpt-5.index")
    with caplog.at_level(logging.WARNING, "ckptkit"):
        assert quarantine(faulty, layout, journal, checkpoint, error) is None
    assert faulty.reached == 1
    assert checkpoint.path.is_dir()
    assert quarantined(layout) == []
    (passed,) = (each for each in read_journal(layout).events if each.event == "passed_over")
    assert passed.moved_to == ""
    assert len(caplog.records) == 1
    assert "so it stays in checkpoints/" in caplog.text
