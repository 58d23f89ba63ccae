"""Syncs TensorFlow's data file while it is written, and computes its digest meanwhile.

TensorFlow writes the file from start to end, into the page cache. Without this module, hundreds of
megabytes gather there. Then the kernel takes processor time from training to find free pages, and
the sync at the end waits for all of them.

A thread follows the file. It syncs each window as soon as it is complete, and drops its pages from
the cache. The bytes are still in memory at that moment, so it also computes the digest, and no byte
has to be read again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from types import TracebackType
from typing import Any

import xxhash

from ckptkit.log import logger
from ckptkit.run.manifest import FileEntry
from ckptkit.run.verify import digest_name, file_entry

WINDOW_BYTES = 8 * 1024 * 1024
"""The bytes that are synced at a time.

Measured with 250 MB: 32 MB windows took twice as long, 2 MB windows took the same time.
"""

WORTH_BYTES = 4 * WINDOW_BYTES
"""The size of a save in bytes below which following the file is not worth it."""

_READ_BYTES = 512 * 1024

_POLL_SECS = 0.005


@dataclass
class _FollowedFile:
    """A file that is being written, and the position up to which it was read."""

    descriptor: int
    at: int = 0
    digest: Any = field(default_factory=xxhash.xxh3_128)

    def read(self, buffer: memoryview) -> int:
        """Add the next bytes to the digest, at most as many as fit into the buffer.

        Returns:
            The number of added bytes; 0 at the current end of the file.
        """
        count = os.preadv(self.descriptor, [buffer], self.at)
        self.digest.update(buffer[:count])
        self.at += count
        return count


class DataFileSync:
    """Follows the data files that appear in a directory while the block runs.

    If the system refuses a thread, it follows no file, and the files are synced and read after they
    are written.

    Args:
        directory: the directory in which TensorFlow writes.
        start_thread: starts a thread, or raises `RuntimeError` if the system has none left.
    """

    def __init__(
        self,
        directory: Path,
        start_thread: Callable[[threading.Thread], object] = methodcaller("start"),
    ) -> None:
        self._directory = directory
        self._start_thread = start_thread
        self._followed: dict[int, _FollowedFile] = {}
        self._earlier: set[int] = set()
        # One buffer for all reads, because new memory for each read would make saves need more.
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ckptkit-drain")

    def __enter__(self) -> DataFileSync:
        # The files that a checkpoint shares with the one before are durable already.
        with suppress(OSError):
            self._earlier = {path.stat().st_ino for path in self._directory.iterdir()}
        try:
            self._start_thread(self._thread)
        except RuntimeError as error:  # no further thread, or the interpreter is exiting
            logger.debug("the file is synced and read at its end: %s", error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if (
            self._thread.ident is not None
        ):  # None, because it was never started, and join() would raise
            self._thread.join()

    def close(self) -> None:
        """Close the followed files."""
        for each in self._followed.values():
            os.close(each.descriptor)
        self._followed = {}

    def entry(self, path: Path) -> FileEntry:
        """Return the size and digest of a file; read only the part that was not followed.

        Args:
            path: a file in the directory.
        """
        # By inode: TensorFlow renames its temporary files at the end.
        followed = self._followed.get(path.stat().st_ino)
        if followed is None:
            return file_entry(path)
        while followed.read(self._buffer):
            pass
        return FileEntry(
            name=path.name, size_bytes=followed.at, digest=digest_name(followed.digest)
        )

    def _run(self) -> None:
        """Follow files until the block ends."""
        while not self._ended.wait(_POLL_SECS):
            self._find_new_files()
            for each in self._followed.values():
                # The sync before the commit gets the same error, and raises it.
                with suppress(OSError):
                    self._flush_windows(each)

    def _find_new_files(self) -> None:
        """Open data files that are new since the last call."""
        with suppress(OSError):  # TensorFlow may rename a file between the listing and the open
            for path in self._directory.rglob("*.data-*"):
                if path.stat().st_ino not in self._followed.keys() | self._earlier:
                    descriptor = os.open(path, os.O_RDONLY)
                    self._followed[os.fstat(descriptor).st_ino] = _FollowedFile(descriptor)

    def _flush_windows(self, followed: _FollowedFile) -> None:
        """Sync each complete window of a file, and drop it from the page cache."""
        while (
            os.fstat(followed.descriptor).st_size - followed.at >= WINDOW_BYTES
            and not self._ended.is_set()
        ):
            end = followed.at + WINDOW_BYTES
            while followed.at < end and followed.read(self._buffer):
                pass
            # In this order, because the kernel drops only pages that are on disk.
            os.fdatasync(followed.descriptor)
            os.posix_fadvise(followed.descriptor, 0, followed.at, os.POSIX_FADV_DONTNEED)
