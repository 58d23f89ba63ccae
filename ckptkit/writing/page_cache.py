"""Helping TensorFlow's data file onto the disk while it is written, and taking its digest on the
way.

TensorFlow writes the file from its beginning to its end, into the page cache. Left alone, hundreds
of megabytes gather there: the kernel takes processor time from training to find pages for them, and
the sync at the end waits for everything. A thread that follows the file sends each window to the
disk as soon as it is complete, and gives its pages back. At that moment the bytes are still in
memory, so the digest is taken there too, and nothing has to be read again.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import xxhash

from ckptkit.log import logger
from ckptkit.run.manifest import FileEntry
from ckptkit.run.verify import digest_name, file_entry

WINDOW_BYTES = 8 * 1024 * 1024
"""Chosen by measuring: with 32 MB the write of 250 MB took twice as long, with 2 MB as long."""

WORTH_BYTES = 4 * WINDOW_BYTES
"""Below this nothing gathers that would matter."""

_READ_BYTES = 512 * 1024

_LOOK_SECS = 0.005


@dataclass
class _Followed:
    """A file that is being written: how far it was followed."""

    descriptor: int
    at: int = 0
    digest: Any = field(default_factory=xxhash.xxh3_128)

    def read(self, buffer: memoryview) -> int:
        """Takes further bytes into the digest, as many as there are and fit into the buffer; how
        many those were.
        """
        count = os.preadv(self.descriptor, [buffer], self.at)
        self.digest.update(buffer[:count])
        self.at += count
        return count


class PageCacheDrain:
    """Follows the data files that appear in a directory while the block runs; where there is no
    further thread, nothing is followed.

    Args:
        directory: in which TensorFlow writes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._followed: dict[int, _Followed] = {}
        self._buffer = memoryview(
            bytearray(_READ_BYTES)
        )  # one for all: what each read allocated would add to the memory that a save takes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ckptkit-drain")

    def __enter__(self) -> PageCacheDrain:
        try:
            self._thread.start()
        except RuntimeError as error:  # no further thread, or the interpreter is on its way out
            logger.debug("the file is synced and read at its end: %s", error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread.ident is not None:  # else it was not started
            self._thread.join()

    def close(self) -> None:
        """Lets go of the files."""
        for each in self._followed.values():
            os.close(each.descriptor)
        self._followed = {}

    def entry(self, path: Path) -> FileEntry:
        """Size and digest of a file, of which only what was not followed is read."""
        followed = self._followed.get(path.stat().st_ino)
        if followed is None:
            return file_entry(path)
        while followed.read(self._buffer):
            pass
        return FileEntry(
            name=path.name, size_bytes=followed.at, digest=digest_name(followed.digest)
        )

    def _run(self) -> None:
        while not self._over.wait(_LOOK_SECS):
            self._look()
            for each in self._followed.values():
                # What goes wrong here is found again, and said, by the sync before the commit.
                with suppress(OSError):
                    self._send(each)

    def _look(self) -> None:
        with suppress(OSError):  # what TensorFlow removes while we look
            for path in self._directory.rglob("*.data-*"):
                if path.stat().st_ino not in self._followed:
                    descriptor = os.open(path, os.O_RDONLY)
                    self._followed[os.fstat(descriptor).st_ino] = _Followed(descriptor)

    def _send(self, followed: _Followed) -> None:
        while (
            os.fstat(followed.descriptor).st_size - followed.at >= WINDOW_BYTES
            and not self._over.is_set()
        ):
            end = followed.at + WINDOW_BYTES
            while followed.at < end and followed.read(self._buffer):
                pass
            os.fdatasync(followed.descriptor)
            os.posix_fadvise(followed.descriptor, 0, followed.at, os.POSIX_FADV_DONTNEED)
