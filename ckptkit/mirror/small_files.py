"""Carries the small files of a run: journals, architectures, fresh starts, the seed, and pins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.mirror.objects import Objects
from ckptkit.mirror.store_layout import FILES, is_small_file
from ckptkit.storage.files import FileSystem, names_in, storage_errors

_MOST_BYTES = 256 * 1024 * 1024
_DIRECTORIES = ("architecture", "fresh", "journal", "pins", "seed")

Signature = tuple[int, int]
"""The size and modification time (ns) of a file."""


class SmallFiles:
    """Uploads the small files of a run that have changed.

    Args:
        objects: the store.
        layout: the run.
        files: how the disk is read.
    """

    def __init__(self, objects: Objects, layout: RunLayout, files: FileSystem) -> None:
        self._objects, self._layout, self._files = objects, layout, files
        self._sent: dict[str, Signature] = {}

    def upload(self) -> None:
        """Upload what has changed since the last time, and delete pins that were removed.

        Each file is one object, which is replaced. Only this attempt writes its journal, so a
        stopped process that wakes up harms no other one.

        Raises:
            StorageError: If the store does not answer.
        """
        found = self._found()
        for path, signature in found.items():
            if self._sent.get(path) != signature:
                with storage_errors("read", self._layout.root / path):
                    data = (self._layout.root / path).read_bytes()
                self._objects.put(FILES + path, data)
                self._sent[path] = signature
        for path in [path for path in self._sent if path not in found]:
            if path.startswith("pins/"):
                self._objects.delete(FILES + path)
            del self._sent[path]

    def _found(self) -> dict[str, Signature]:
        found = {}
        for path in _local_paths(self._layout, self._files):
            try:
                status = (self._layout.root / path).stat()
            except OSError:  # a pin that is being removed
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
        return found

    def fetch(self) -> int:
        """Fetch the files that the directory does not have.

        Returns:
            How many were fetched.

        Raises:
            StorageError: If the store does not answer, or the disk refuses.
        """
        count = 0
        on_store = self._objects.sizes(FILES)
        for key, size_bytes in on_store.items():
            path = key.removeprefix(FILES)
            target = self._layout.root / path
            if not is_small_file(path) or target.exists():
                continue
            if size_bytes > _MOST_BYTES:
                logger.warning("%s on the object store is too large to be fetched", key)
                continue
            self._files.make_dir(target.parent)
            self._files.create(target, self._objects.read(key))
            self._files.sync_dir(target.parent)
            count += 1
        # What has the same size on both sides is the same: these files only grow, or never change.
        self._sent = {
            path: signature
            for path, signature in self._found().items()
            if on_store.get(FILES + path) == signature[0]
        }
        return count


def _local_paths(layout: RunLayout, files: FileSystem) -> Iterable[str]:
    for directory in _DIRECTORIES:
        try:
            names = names_in(files, layout.root / directory)
        except StorageError:
            continue
        for name in names:
            path = f"{directory}/{name}"
            if is_small_file(path) and Path(layout.root / path).is_file():
                yield path
