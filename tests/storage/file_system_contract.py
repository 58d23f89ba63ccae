"""What every file system of ckptkit does: the tests that each implementation passes.

A test class inherits from `FileSystemContract` and gives the implementation with `make_files`.
"""

from __future__ import annotations

import errno
import os
import stat

import pytest

import ckptkit
from ckptkit.storage.files import FileSystem, names_in


def refused(action, *arguments):
    """The error number with which a change or a read is refused."""
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


class FileSystemContract:
    """See the module."""

    def make_files(self) -> FileSystem:
        raise NotImplementedError

    @pytest.fixture
    def files(self):
        return self.make_files()

    # -- changes

    def test_a_directory_is_made_with_its_parents_and_may_exist(self, files, tmp_path):
        files.make_dir(tmp_path / "a" / "b")
        files.make_dir(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b").is_dir()

    def test_a_file_is_created_once(self, files, tmp_path):
        files.create(tmp_path / "f", b"first")
        assert refused(files.create, tmp_path / "f", b"second") == "EEXIST"
        assert (tmp_path / "f").read_bytes() == b"first"

    def test_content_is_replaced_in_one_step(self, files, tmp_path):
        files.replace_content(tmp_path / "f", b"old")
        before = (tmp_path / "f").stat().st_ino
        files.replace_content(tmp_path / "f", b"new")
        assert (tmp_path / "f").read_bytes() == b"new"
        assert (tmp_path / "f").stat().st_ino != before, "who has the old one open reads that"
        assert [path.name for path in tmp_path.iterdir()] == ["f"]

    @pytest.mark.parametrize("content", [b"", b"short", b"longer than it was before"])
    def test_content_is_overwritten_in_place(self, files, tmp_path, content):
        (tmp_path / "f").write_bytes(b"some content")
        before = (tmp_path / "f").stat().st_ino
        files.overwrite(tmp_path / "f", content)
        assert (tmp_path / "f").read_bytes() == content
        assert (tmp_path / "f").stat().st_ino == before

    def test_overwriting_makes_no_file_and_follows_no_link(self, files, tmp_path):
        assert refused(files.overwrite, tmp_path / "missing", b"x") == "ENOENT"
        (tmp_path / "target").write_bytes(b"precious")
        (tmp_path / "link").symlink_to("target")
        assert refused(files.overwrite, tmp_path / "link", b"x") == "ELOOP"
        assert (tmp_path / "target").read_bytes() == b"precious"

    def test_lines_are_appended(self, files, tmp_path):
        files.append(tmp_path / "f", b"one\n")
        files.append(tmp_path / "f", b"two\n")
        files.sync_file(tmp_path / "f")
        files.sync_dir(tmp_path)
        assert (tmp_path / "f").read_bytes() == b"one\ntwo\n"

    def test_a_rename_takes_no_name_that_is_in_use(self, files, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        assert refused(files.rename, tmp_path / "a", tmp_path / "b") == "EEXIST"
        files.rename(tmp_path / "a", tmp_path / "c")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]

    def test_a_second_name_is_for_the_same_bytes(self, files, tmp_path):
        files.create(tmp_path / "f", b"bytes")
        files.share(tmp_path / "f", tmp_path / "g")
        assert (tmp_path / "g").samefile(tmp_path / "f")
        assert refused(files.share, tmp_path / "f", tmp_path / "g") == "EEXIST"
        assert refused(files.share, tmp_path / "missing", tmp_path / "h") == "ENOENT"

    def test_what_is_missing_is_removed_already(self, files, tmp_path):
        (tmp_path / "tree" / "deep").mkdir(parents=True)
        (tmp_path / "tree" / "deep" / "f").touch()
        for _ in range(2):
            files.remove_tree(tmp_path / "tree")
            files.remove_file(tmp_path / "f")
        assert list(tmp_path.iterdir()) == []

    def test_free_space_is_a_number_or_unknown(self, files, tmp_path):
        free = files.free_bytes(tmp_path)
        assert free is None or free >= 0

    def test_a_refused_change_is_an_error_of_storage_with_its_number(self, files, tmp_path):
        with pytest.raises(ckptkit.StorageError, match="Could not write") as caught:
            files.create(tmp_path / "missing" / "f", b"x")
        assert caught.value.errno == errno.ENOENT

    # -- reads

    def test_a_file_is_read_up_to_a_bound(self, files, tmp_path):
        (tmp_path / "f").write_bytes(b"12345")
        assert files.read_bounded(tmp_path / "f", 5) == b"12345"
        assert refused(files.read_bounded, tmp_path / "f", 4) == "EFBIG"

    def test_a_file_is_read_in_pieces(self, files, tmp_path):
        (tmp_path / "f").write_bytes(b"12345")
        with files.open_read(tmp_path / "f") as file:
            assert [file.read(2), file.read(2), file.read(2), file.read(2)] == [
                b"12",
                b"34",
                b"5",
                b"",
            ]

    @pytest.mark.parametrize("read", ["read_bounded", "open_read"])
    def test_only_regular_files_are_read(self, files, tmp_path, read):
        arguments = (100,) if read == "read_bounded" else ()
        (tmp_path / "target").write_bytes(b"precious")
        (tmp_path / "link").symlink_to("target")
        (tmp_path / "directory").mkdir()
        os.mkfifo(tmp_path / "pipe")
        found = {
            name: refused(getattr(files, read), tmp_path / name, *arguments)
            for name in ("missing", "link", "directory", "pipe")
        }
        assert found == {
            "missing": "ENOENT",
            "link": "ELOOP",
            "directory": "EINVAL",
            "pipe": "EINVAL",
        }

    def test_names_are_listed_in_their_order(self, files, tmp_path):
        for name in ("b", "a", ".c"):
            (tmp_path / name).touch()
        assert files.list_dir(tmp_path) == [".c", "a", "b"]
        assert refused(files.list_dir, tmp_path / "missing") == "ENOENT"
        assert refused(files.list_dir, tmp_path / "a") == "ENOTDIR"

    def test_names_in_a_missing_directory_are_none(self, files, tmp_path):
        (tmp_path / "f").touch()
        assert names_in(files, tmp_path / "missing") == []
        assert names_in(files, tmp_path / "f" / "below") == []
        with pytest.raises(ckptkit.StorageError, match="Could not list"):
            names_in(files, tmp_path / "f")

    def test_a_status_is_that_of_the_name_itself(self, files, tmp_path):
        (tmp_path / "f").write_bytes(b"12345")
        (tmp_path / "link").symlink_to("nowhere")
        assert files.status(tmp_path / "f").st_size == 5
        assert stat.S_ISLNK(files.status(tmp_path / "link").st_mode)
        assert files.status(tmp_path / "missing") is None
        assert files.status(tmp_path / "f" / "below") is None

    def test_a_directory_may_be_reached_by_a_link(self, files, tmp_path):
        (tmp_path / "f").touch()
        (tmp_path / "directory").mkdir()
        (tmp_path / "link").symlink_to("directory")
        names = ("directory", "link", "f", "missing")
        assert [files.is_dir(tmp_path / name) for name in names] == [True, True, False, False]
