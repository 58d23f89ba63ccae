"""The file system as the owner of a run may use it: each change asks first whether the run is still
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ckptkit.storage.files import FileSystem


class FencedFiles(FileSystem):
    """A file system that a process loses together with its run.

    Appending to the process's own journal stays possible: it disturbs nobody, and tells what
    happened.

    Args:
        files: how to change the disk.
        check: raises where the run belongs to somebody else now.
    """

    def __init__(self, files: FileSystem, check: Callable[[], None]) -> None:
        self._files = files
        self._check = check

    @property
    def unowned(self) -> FileSystem:
        return self._files

    def make_dir(self, path: Path) -> None:
        self._check()
        self._files.make_dir(path)

    def create(self, path: Path, data: bytes) -> None:
        self._check()
        self._files.create(path, data)

    def replace_content(self, path: Path, data: bytes) -> None:
        self._check()
        self._files.replace_content(path, data)

    def overwrite(self, path: Path, data: bytes) -> None:
        self._check()
        self._files.overwrite(path, data)

    def append(self, path: Path, data: bytes) -> None:
        self._files.append(path, data)

    def sync_file(self, path: Path) -> None:
        self._files.sync_file(path)

    def sync_dir(self, path: Path) -> None:
        self._files.sync_dir(path)

    def rename(self, source: Path, target: Path) -> None:
        self._check()
        self._files.rename(source, target)

    def remove_file(self, path: Path) -> None:
        self._check()
        self._files.remove_file(path)

    def remove_tree(self, path: Path) -> None:
        self._check()
        self._files.remove_tree(path)

    def free_bytes(self, path: Path) -> int | None:
        return self._files.free_bytes(path)
