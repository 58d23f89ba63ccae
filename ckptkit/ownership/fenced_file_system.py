"""Refuses changes to a run after its process has lost the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ckptkit.storage.files import FileSystem


class FencedFiles(FileSystem):
    """A file system that refuses changes after its process has lost the run.

    Reads stay possible. The process may also append to its own journal, to record what happened.

    Args:
        files: the underlying file system.
        check: raises if another process owns the run now.
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

    def read_bounded(self, path: Path, most_bytes: int) -> bytes:
        return self._files.read_bounded(path, most_bytes)

    def open_read(self, path: Path) -> BinaryIO:
        return self._files.open_read(path)

    def list_dir(self, path: Path) -> list[str]:
        return self._files.list_dir(path)

    def status(self, path: Path) -> os.stat_result | None:
        return self._files.status(path)

    def is_dir(self, path: Path) -> bool:
        return self._files.is_dir(path)

    def append(self, path: Path, data: bytes) -> None:
        self._files.append(path, data)

    def sync_file(self, path: Path) -> None:
        self._files.sync_file(path)

    def sync_dir(self, path: Path) -> None:
        self._files.sync_dir(path)

    def rename(self, source: Path, target: Path) -> None:
        self._check()
        self._files.rename(source, target)

    def share(self, source: Path, target: Path) -> None:
        self._check()
        self._files.share(source, target)

    def remove_file(self, path: Path) -> None:
        self._check()
        self._files.remove_file(path)

    def remove_tree(self, path: Path) -> None:
        self._check()
        self._files.remove_tree(path)

    def free_bytes(self, path: Path) -> int | None:
        return self._files.free_bytes(path)
