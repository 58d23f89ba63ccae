"""Every implementation of the file system passes the same tests, and refuses in its own way."""

from __future__ import annotations

import errno

import pytest

import ckptkit
from ckptkit.ownership.fenced_file_system import FencedFiles
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.journal import next_attempt
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.pins import pinned
from ckptkit.run.quarantine import quarantined
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem
from ckptkit.testing import FaultyFiles
from tests.storage.file_system_contract import FileSystemContract, refused


class TestFileSystem(FileSystemContract):
    def make_files(self):
        return FileSystem()


class TestFaultyFiles(FileSystemContract):
    """Without a fault it is the real one."""

    def make_files(self):
        return FaultyFiles()


class TestFencedFiles(FileSystemContract):
    """While the run is its own."""

    def make_files(self):
        return FencedFiles(FileSystem(), lambda: None)


READS = [
    ("read_bounded", (100,), "ReadFile"),
    ("open_read", (), "ReadFile"),
    ("list_dir", (), "ListDir"),
    ("status", (), "Status"),
    ("is_dir", (), "Status"),
]
CHANGES = [
    ("make_dir", ()),
    ("create", (b"x",)),
    ("replace_content", (b"x",)),
    ("overwrite", (b"x",)),
    ("remove_file", ()),
    ("remove_tree", ()),
]


@pytest.mark.parametrize(("read", "arguments", "kind"), READS)
def test_each_read_can_fail_also_through_the_fence(tmp_path, read, arguments, kind):
    faulty = FaultyFiles()
    for files in (faulty, FencedFiles(faulty, lambda: None)):
        faulty.fail_read(errno.ESTALE, when=lambda read: read.kind == kind)
        assert refused(getattr(files, read), tmp_path, *arguments) == "ESTALE"
    assert faulty.reached == 2
    assert [str(each) for each in faulty.reads] == [f"{kind} {tmp_path.name}"] * 2
    assert faulty.steps == []


def test_reads_are_counted_apart_from_changes(tmp_path):
    files = FaultyFiles()
    files.fail(errno.EIO, at=2)
    files.fail_read(errno.EACCES, at=2)
    files.list_dir(tmp_path)
    assert refused(files.list_dir, tmp_path) == "EACCES"
    assert refused(files.make_dir, tmp_path / "a") == "EIO"
    files.heal()
    assert files.list_dir(tmp_path) == ["a"]
    with pytest.raises(ValueError, match="at=0"):
        files.fail_read(at=0)


@pytest.mark.parametrize(("change", "arguments"), CHANGES)
def test_a_lost_run_is_read_and_not_changed(tmp_path, change, arguments):
    def lost():
        raise ckptkit.RunLockedError("it was taken over")

    (tmp_path / "f").write_bytes(b"content")
    files = FencedFiles(FileSystem(), lost)
    with pytest.raises(ckptkit.RunLockedError):
        getattr(files, change)(tmp_path / "f", *arguments)
    assert files.read_bounded(tmp_path / "f", 100) == b"content"
    assert files.list_dir(tmp_path) == ["f"]


READERS = [
    ("ListDir", "checkpoints", lambda layout, files: list_checkpoints(layout, files)),
    ("ReadFile", "manifest.json", lambda layout, files: list_checkpoints(layout, files)[0].head),
    ("ReadFile", "ckpt-100.index", lambda layout, files: verify(*list_checkpoints(layout, files))),
    ("Status", "ckpt-100.index", lambda layout, files: verify(*list_checkpoints(layout, files))),
    ("ListDir", "journal", lambda layout, files: read_journal(layout, files=files)),
    ("ReadFile", "attempt-000001.jsonl", lambda layout, files: read_journal(layout, files=files)),
    ("ListDir", "journal", lambda layout, files: next_attempt(layout, files)),
    ("ListDir", "pins", lambda layout, files: pinned(layout, files)),
]


@pytest.mark.parametrize(
    ("kind", "name", "action"), READERS, ids=[f"{kind} {name}" for kind, name, _ in READERS]
)
def test_a_disk_that_cannot_be_read_is_no_damage(save, layout, kind, name, action):
    """It says nothing about the content: no reader takes it for a missing or broken file."""
    save(100)
    layout.journal.mkdir()
    layout.attempt_journal(1).touch()
    files = FaultyFiles()
    files.fail_read(errno.EIO, when=lambda read: read.kind == kind and read.path.name == name)
    with pytest.raises(ckptkit.StorageError) as caught:
        action(layout, files)
    assert caught.value.errno == errno.EIO
    assert files.reached == 1
    action(layout, files)
    assert quarantined(layout, files) == []
