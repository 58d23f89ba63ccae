"""What each operation of the seam is made of, and that nothing goes through a link."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import ckptkit
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.set_aside import set_aside
from ckptkit.storage.operations import SyncDir
from ckptkit.testing import FakeClock, FaultyFiles


def steps(action):
    files = FaultyFiles()
    action(files)
    return [str(step) for step in files.steps]


def test_what_each_operation_is_made_of(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    (tmp_path / "file").write_bytes(b"x")
    assert steps(lambda files: files.make_dir(a / "inner" / "deep")) == [
        "MakeDir a",
        f"SyncDir {tmp_path.name}",
        "MakeDir inner",
        "SyncDir a",
        "MakeDir deep",
        "SyncDir inner",
    ]
    assert steps(lambda files: files.make_dir(a / "inner")) == []
    assert steps(lambda files: files.create(a / "f", b"data")) == [
        "CreateFile f",
        "Append f (4 bytes)",
        "SyncFile f",
    ]
    assert steps(lambda files: files.create(a / "inner" / "empty", b"")) == [
        "CreateFile empty",
        "SyncFile empty",
    ]
    assert steps(lambda files: files.append(a / "f", b"+")) == ["Append f (1 bytes)", "SyncFile f"]
    assert steps(lambda files: files.replace_content(a / "f", b"new")) == [
        "CreateFile f.tmp",
        "Append f.tmp (3 bytes)",
        "SyncFile f.tmp",
        "Rename f.tmp f",
    ]
    assert (a / "f").read_bytes() == b"new"
    assert steps(lambda files: files.sync_file(a / "f")) == ["SyncFile f"]
    assert steps(lambda files: files.sync_dir(a)) == ["SyncDir a"]
    assert steps(lambda files: files.rename(a, b)) == ["Rename a b"]
    assert steps(lambda files: files.remove_file(tmp_path / "file")) == ["Unlink file"]
    assert steps(lambda files: files.remove_tree(b)) == [
        "Unlink f",
        "Unlink empty",
        "RemoveDir deep",
        "RemoveDir inner",
        "RemoveDir b",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["Append", "SyncFile", "Rename"])
@pytest.mark.parametrize("operation", ["create", "replace_content", "append"])
def test_where_it_fails_half_way_there_is_no_debris(tmp_path, kind, operation):
    if operation != "create":
        (tmp_path / "f").write_bytes(b"old")
    files = FaultyFiles()
    files.fail(errno.ENOSPC, when=lambda step: step.kind == kind, after_bytes=2)
    if kind == "Rename" and operation != "replace_content":
        pytest.skip("it renames nothing")
    with pytest.raises(ckptkit.StorageError, match="Free some space"):
        getattr(files, operation)(tmp_path / "f", b"new content")
    assert files.reached == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        {} if operation == "create" else {"f": b"old"}
    )


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="a directory of Linux that cannot be synced"
)
def test_a_mount_that_cannot_sync_directories():
    descriptor = os.open("/proc", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    SyncDir(Path("/proc")).perform()


# -- links


@pytest.fixture
def outside(tmp_path):
    """A directory with a file that nobody may touch."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "precious").write_bytes(b"gold")
    yield directory
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {"precious": b"gold"}


def test_removing_follows_no_link(files, tmp_path, outside):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("tree", "link", "dangling"):
        files.remove_tree(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_a_tree_may_be_deeper_than_calls_may_be(files, tmp_path):
    path = tmp_path / "tree"
    path.mkdir()
    for _ in range(1500):
        path /= "d"
        path.mkdir()
    files.remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("operation", ["create", "append", "sync_file"])
def test_writing_follows_no_link(files, tmp_path, outside, operation):
    (tmp_path / "f").symlink_to(outside / "precious")
    with pytest.raises(ckptkit.StorageError):
        getattr(files, operation)(tmp_path / "f", *([b"mud"] if operation != "sync_file" else []))


def test_replacing_content_replaces_a_link(files, tmp_path, outside):
    (tmp_path / "f").symlink_to(outside / "precious")
    (tmp_path / "f.tmp").symlink_to(outside / "precious")
    files.replace_content(tmp_path / "f", b"own")
    assert not (tmp_path / "f").is_symlink()


def test_left_overs_that_are_links_are_removed_and_what_they_lead_to_is_not(
    layout, files, outside, save
):
    save()
    for name in (".writing-3", ".removing-ckpt-5-1", ".replaced-ckpt-100-1", "checkpoint.tmp"):
        (layout.checkpoints / name).symlink_to(outside)
    clean_up(files, layout)
    assert [path.name for path in layout.checkpoints.iterdir()] == ["ckpt-100-1"]


@pytest.mark.parametrize("name", ["checkpoints", "journal", "quarantine", "aside"])
def test_a_run_whose_rooms_are_links_is_not_trained(layout, files, outside, name):
    layout.root.mkdir()
    (layout.root / name).symlink_to(outside)
    with pytest.raises(ckptkit.StorageError, match="is a symbolic link"):
        RunLock(files, layout, FakeClock())


def test_setting_aside_moves_a_link_and_not_what_it_leads_to(layout, files, outside, tmp_path):
    (tmp_path / "ckpt-1-1").symlink_to(outside)
    assert set_aside(files, tmp_path / "ckpt-1-1", layout.quarantine).is_symlink()


def test_a_run_directory_may_be_a_link_itself(layout, files, save, tmp_path):
    save()
    (tmp_path / "there").symlink_to(layout.root)
    assert [checkpoint.step for checkpoint in ckptkit.open_run(tmp_path / "there").checkpoints] == [
        100
    ]


def test_a_relative_run_directory(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.make_dir(Path("runs/one"))
    assert (tmp_path / "runs" / "one").is_dir()
