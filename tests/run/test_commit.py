"""One rename makes a checkpoint visible, and one takes it away; what a crash leaves is put in
order.
"""

from __future__ import annotations

import errno
import os

import pytest

import ckptkit
from ckptkit.layout import CheckpointName
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.checkpoint_removal import clean_up, remove_checkpoint
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.set_aside import set_aside
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem, storage_errors
from tests.support.stored_run import manifest


def names(layout):
    return sorted(path.name for path in layout.checkpoints.iterdir())


def checkpoint(layout, step=100, attempt=1):
    return Checkpoint(
        CheckpointName(step, attempt), layout.checkpoint(CheckpointName(step, attempt))
    )


class Recording(FileSystem):
    """Notes every change of the disk in its order, and fails at the one that it is told."""

    def __init__(self, fail_at: str | None = None) -> None:
        self.done: list[str] = []
        self.fail_at = fail_at
        for method in ("create", "sync_file", "sync_dir", "rename", "remove_file", "remove_tree"):
            setattr(self, method, self._noted(method))

    def _noted(self, method):
        def call(path, *rest):
            what = f"{method} {' '.join(p.name for p in (path, *rest) if hasattr(p, 'name'))}"
            self.done.append(what)
            with storage_errors(method, path):
                if what == self.fail_at:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            return getattr(FileSystem, method)(self, path, *rest)

        return call


def test_data_then_manifest_then_entries_then_the_name(layout, files):
    recording = Recording()
    directory = begin_writing(files, layout, 1)
    (directory / "ckpt-100.index").write_bytes(b"x")
    commit(recording, layout, manifest())
    assert recording.done == [
        "sync_file ckpt-100.index",
        "create manifest.json",
        "sync_dir .writing-1",
        "rename .writing-1 ckpt-100-1",
        "sync_dir checkpoints",
    ]
    assert names(layout) == ["ckpt-100-1"]
    assert sorted(path.name for path in (layout.checkpoints / "ckpt-100-1").iterdir()) == [
        "ckpt-100.index",
        "manifest.json",
    ]


def test_what_is_committed_verifies(save, layout):
    save(content=b"tensors")
    found = checkpoint(layout)
    verify(found)
    assert [(file.name, file.size_bytes) for file in found.manifest.files] == [
        ("ckpt-100.index", 7)
    ]
    assert found.manifest.size_bytes == 7


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"Tensors"), "digest differs"),
        (lambda path: path.write_bytes(b"tensor"), "has 6 bytes; its manifest says 7"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
        (lambda path: path.unlink(), "is missing"),
        (
            lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
            "is not a regular file",
        ),
        (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
    ],
    ids=["flipped", "torn", "emptied", "gone", "a link", "a directory"],
)
def test_damage_is_found(save, layout, damage, said):
    damage(save() / "ckpt-100.index")
    with pytest.raises(ckptkit.CorruptCheckpointError, match=r"ckpt-100\.index") as caught:
        verify(checkpoint(layout))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "step",
    [
        "sync_file ckpt-100.index",
        "create manifest.json",
        "sync_dir .writing-1",
        "rename .writing-1 ckpt-100-1",
    ],
)
def test_where_a_commit_fails_the_run_is_as_before(save, layout, files, step):
    save(50)
    directory = begin_writing(files, layout, 1)
    (directory / "ckpt-100.index").write_bytes(b"x")
    with pytest.raises(ckptkit.StorageError, match="The device reports an error"):
        commit(Recording(fail_at=step), layout, manifest())
    assert [c.step for c in list_checkpoints(layout)] == [50]
    verify(checkpoint(layout, 50))
    assert clean_up(files, layout) == ["removed an unfinished save (.writing-1)"]
    assert names(layout) == ["ckpt-50-1"]


def test_a_second_save_at_a_step_replaces_the_first(save, layout):
    save(content=b"first")
    save(content=b"second")
    assert names(layout) == ["ckpt-100-1"]
    assert (layout.checkpoints / "ckpt-100-1" / "ckpt-100.index").read_bytes() == b"second"
    verify(checkpoint(layout))


def test_the_same_step_in_another_attempt_is_another_checkpoint(save, layout):
    save(attempt=1)
    save(attempt=2)
    assert names(layout) == ["ckpt-100-1", "ckpt-100-2"]


def test_a_crash_between_the_renames_of_a_replacement_loses_nothing(save, layout, files):
    save(content=b"first").rename(layout.checkpoints / ".replaced-ckpt-100-1")
    begin_writing(files, layout, 1)
    assert clean_up(files, layout) == [
        "restored ckpt-100-1, because its replacement was not finished",
        "removed an unfinished save (.writing-1)",
    ]
    verify(checkpoint(layout))


def test_a_crash_after_a_replacement_leaves_the_new_one(save, layout, files):
    save(content=b"second")
    (layout.checkpoints / ".replaced-ckpt-100-1").mkdir()
    clean_up(files, layout)
    assert names(layout) == ["ckpt-100-1"]
    assert (layout.checkpoints / "ckpt-100-1" / "ckpt-100.index").read_bytes() == b"second"


def test_cleaning_up_touches_nothing_else(save, layout, files):
    save()
    for name in (".writing-7", ".removing-ckpt-5-1", "notes", ".hidden", "ckpt-7"):
        (layout.checkpoints / name).mkdir()
        (layout.checkpoints / name / "file").write_bytes(b"x")
    done = clean_up(files, layout)
    assert sorted(done) == [
        "finished a removal (.removing-ckpt-5-1)",
        "removed an unfinished save (.writing-7)",
    ]
    assert names(layout) == [".hidden", "ckpt-100-1", "ckpt-7", "notes"]
    assert clean_up(files, layout) == []


def test_taking_away_is_one_rename_before_anything_is_deleted(save, layout):
    save(100)
    save(200)
    recording = Recording()
    remove_checkpoint(recording, layout, CheckpointName(100, 1))
    assert recording.done == [
        "rename ckpt-100-1 .removing-ckpt-100-1",
        "sync_dir checkpoints",
        "remove_tree .removing-ckpt-100-1",
    ]
    assert names(layout) == ["ckpt-200-1"]


def test_begin_writing_starts_empty(layout, files):
    (begin_writing(files, layout, 3) / "left over").write_bytes(b"x")
    assert list(begin_writing(files, layout, 3).iterdir()) == []


def test_setting_aside_never_overwrites(layout, files, tmp_path):
    moved = []
    for content in ("first", "second", "third"):
        (tmp_path / "thing").write_text(content)
        moved.append(set_aside(files, tmp_path / "thing", layout.aside))
    assert [path.name for path in moved] == ["thing", "thing.2", "thing.3"]
    assert [path.read_text() for path in moved] == ["first", "second", "third"]


def test_no_rename_takes_a_name_that_is_in_use(files, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(ckptkit.StorageError):
        files.rename(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"
