"""What fails after a commit is reported, and costs neither the checkpoint nor the training."""

from __future__ import annotations

import errno
import os

import pytest

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal import best_effort
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.retention import retain
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.storage.files import FileSystem, storage_errors
from tests.support.stored_run import manifest, start_attempt


class Keeping(FileSystem):
    """A disk that gives no directory away, as one with sticky or immutable entries."""

    def __init__(self) -> None:
        self.refused = 0

    def remove_tree(self, path):
        if path.exists():
            self.refused += 1
            with storage_errors("remove", path):
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_removal_that_fails_is_said_and_the_others_are_made(save, layout, files, caplog):
    for step in (1, 2, 3):
        save(step)
    keeping = Keeping()
    journal = start_attempt(files, layout, SystemClock())
    retain(keeping, CheckpointIndex(layout), journal, ckptkit.KeepLatest(1))
    assert keeping.refused == 2
    assert [c.step for c in list_checkpoints(layout)] == [3]
    told = [
        event for event in read_journal(layout).events if isinstance(event, events.TidyingFailed)
    ]
    assert [event.what for event in told] == ["remove ckpt-1-1", "remove ckpt-2-1"]
    assert "permission" in told[0].message
    assert "training continues" in caplog.text


def test_a_replaced_checkpoint_that_cannot_be_removed(save, layout, files):
    save(content=b"first")
    (begin_writing(files, layout, 1) / "ckpt-100.index").write_bytes(b"second")
    keeping = Keeping()
    commit(keeping, layout, manifest())
    assert keeping.refused == 1
    save(content=b"third")
    (found,) = list_checkpoints(layout)
    assert (found.path / "ckpt-100.index").read_bytes() == b"third"
    assert not layout.replaced(found.name).exists()


def test_a_journal_that_cannot_be_written_either(layout, files, caplog):
    journal = start_attempt(files, layout, SystemClock())
    layout.attempt_journal(1).unlink()
    layout.attempt_journal(1).mkdir()
    with best_effort(journal, "do it"):
        raise ckptkit.StorageError(errno.EIO, "no")
    assert "could not do it" in caplog.text


def test_other_errors_pass(layout, files):
    with (
        pytest.raises(ZeroDivisionError),
        best_effort(start_attempt(files, layout, SystemClock()), "do it"),
    ):
        _ = 1 / 0
