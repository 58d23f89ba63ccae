"""What the file system refuses: which path, why, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import ckptkit
from ckptkit.run.stored_run import open_run
from ckptkit.storage.files import storage_errors


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "The quota is used up"),
        (errno.EACCES, "permission"),
        (errno.EPERM, "permission"),
        (errno.EROFS, "mounted read-only"),
        (errno.ENOTDIR, "A file has the name of the directory"),
        (errno.EIO, "check the system's log"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_the_message_has_action_path_reason_and_remedy(number, remedy):
    with pytest.raises(ckptkit.StorageError) as caught, storage_errors("write", Path("a/b")):
        raise OSError(number, os.strerror(number))
    error = caught.value
    assert isinstance(error, OSError)
    assert error.errno == number
    assert error.strerror.startswith(f"Could not write a/b: {os.strerror(number)}. ")
    assert remedy in error.strerror
    assert isinstance(error.__cause__, OSError)


def test_an_error_is_wrapped_once():
    with (
        pytest.raises(ckptkit.StorageError, match="Could not read inner"),
        storage_errors("write", Path("outer")),
        storage_errors("read", Path("inner")),
    ):
        raise OSError(errno.EIO, "bad")


def test_other_errors_pass():
    with pytest.raises(KeyError), storage_errors("write", Path("a")):
        raise KeyError("a")


@pytest.mark.parametrize(
    "operation",
    [
        lambda files, path: files.make_dir(path / "inner"),
        lambda files, path: files.create(path / "inner", b""),
        lambda files, path: files.append(path / "inner", b""),
        lambda files, path: files.replace_content(path / "inner", b""),
        lambda files, path: files.sync_dir(path),
        lambda files, path: files.rename(path.with_name("missing"), path.with_name("other")),
        lambda files, path: files.sync_file(path.with_name("missing")),
        lambda files, path: files.make_dir(path),
        lambda files, path: files.create(path, b""),
    ],
    ids=range(9),
)
def test_every_operation_raises_a_storage_error(files, tmp_path, operation):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ckptkit.StorageError, match="Could not"):
        operation(files, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk(files):
    with pytest.raises(
        ckptkit.StorageError, match=r"No space left on device.*Free some space"
    ) as caught:
        files.append(Path("/dev/full"), b"x")
    assert caught.value.errno == errno.ENOSPC


def test_replacing_content_leaves_the_old_one_where_it_fails(files, tmp_path):
    files.replace_content(tmp_path / "f", b"old")
    (tmp_path / "f.tmp").mkdir()
    with pytest.raises(ckptkit.StorageError):
        files.replace_content(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"


def test_removing_what_is_gone_is_fine(files, tmp_path):
    files.remove_file(tmp_path / "gone")
    files.remove_tree(tmp_path / "gone")


def test_a_run_that_is_none(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, said in [
        ("missing", "does not exist"),
        ("file", "is a file"),
        ("empty", "neither checkpoints/ nor journal/ of a run"),
    ]:
        with pytest.raises(ckptkit.CheckpointNotFoundError, match=said) as caught:
            open_run(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert isinstance(caught.value, FileNotFoundError)


def test_finding_a_checkpoint(save, tmp_path):
    save(100, metrics={"loss": 0.5})
    save(200, metrics={"loss": 0.25})
    save(300, metrics={"loss": "nan"})
    run = open_run(tmp_path / "run")
    assert run.find().step == 300
    assert run.find("best").step == 200
    assert run.find("best", monitor="loss", mode="max").step == 100
    assert run.find(200).step == run.find("200").step == 200
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="Expected one of: 100, 200, 300"):
        run.find(250)
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="Metrics there"):
        run.find("best", monitor="accuracy")


def test_a_damaged_checkpoint_is_not_silently_another_one(save, tmp_path, caplog):
    for step in (100, 200, 300):
        save(step, metrics={"loss": 0.5})
    (save(300, attempt=2) / "manifest.json").write_text("nothing")
    run = open_run(tmp_path / "run")
    assert (run.find().step, run.find().attempt) == (300, 1)
    assert "ckpt-300-2 is damaged, so the checkpoint before it is used" in caplog.text
    with pytest.raises(ckptkit.CorruptCheckpointError, match=r"ckpt-300-2.*is not a manifest"):
        run.find(300)
    for path in (tmp_path / "run" / "checkpoints").glob("*/manifest.json"):
        path.unlink()
    for which in ("latest", "best"):
        with pytest.raises(ckptkit.CheckpointNotFoundError, match="no readable checkpoint"):
            run.find(which)


def test_a_run_that_cannot_be_looked_at_is_a_storage_error(tmp_path, monkeypatch):
    """As a failing disk does, at the first look or at a later one."""
    (tmp_path / "checkpoints" / "ckpt-1-1").mkdir(parents=True)
    for name in ("stat", "listdir"):
        with monkeypatch.context() as patched:

            def fail(*_, **__):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

            patched.setattr(os, name, fail)
            with pytest.raises(ckptkit.StorageError) as caught:
                open_run(tmp_path)
        assert caught.value.errno == errno.EIO
