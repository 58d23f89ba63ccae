"""The result of a verification, which another process may use instead of verifying again.

It is bound to the files that were read: their sizes, times, inodes and digests. What differs in any
of these, or was not read, is verified as usual.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import FileEntry
from ckptkit.run.verify import verify_files

VERDICT_VERSION = 1

MOST_AGE_SECS = 300.0
"""The seconds for which a verdict counts. A training that needs longer to start verifies itself."""


@dataclass(frozen=True, kw_only=True)
class VerifiedFile:
    """A file as it was while it was verified.

    Args:
        name: its name in the checkpoint's directory.
        digest: its digest, as in the manifest.
        size_bytes: its size.
        mtime_ns, ctime_ns: when its content and its inode were changed, in nanoseconds.
        device, inode: which file it is.
        links: the number of its hard links.
    """

    name: str
    digest: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    links: int

    def is_still(self, now: VerifiedFile | None) -> bool:
        """Return whether a file is still the same, as far as the system knows."""
        if now is None or self.content_stamp != now.content_stamp:
            return False
        # A new or a removed hard link changes the ctime too. Recovery removes the links that an
        # unfinished save has made to the files of the newest checkpoint.
        return self.ctime_ns == now.ctime_ns or self.links != now.links

    @property
    def content_stamp(self) -> tuple[str, str, int, int, int, int]:
        """Everything that stays the same if a hard link is added or removed."""
        return (
            self.name,
            self.digest,
            self.size_bytes,
            self.mtime_ns,
            self.device,
            self.inode,
        )


@dataclass(frozen=True, kw_only=True)
class IntactVerdict:
    """A checkpoint that was read in full and is intact.

    Args:
        checkpoint: the path of its directory, absolute and without links.
        files: the files that were read.
        verified_at: when reading them began, in seconds since the epoch.
        version: the version of this format.
    """

    checkpoint: str
    files: tuple[VerifiedFile, ...]
    verified_at: float
    version: int = VERDICT_VERSION

    def unknown(
        self,
        checkpoint: Checkpoint,
        entries: Sequence[FileEntry],
        now: Callable[[], float] = time.time,
    ) -> tuple[FileEntry, ...]:
        """Return the files of a checkpoint that still have to be verified.

        Args:
            checkpoint: the checkpoint.
            entries: files that its manifest lists.
            now: the time, in seconds since the epoch.
        """
        is_old = not 0.0 <= now() - self.verified_at <= MOST_AGE_SECS
        if is_old or self.checkpoint != _path_of(checkpoint):
            return tuple(entries)
        known = {each.name: each for each in self.files}
        return tuple(
            entry
            for entry in entries
            if (file := known.get(entry.name)) is None
            or not file.is_still(_file_now(checkpoint.path, entry))
        )


def verified(checkpoint: Checkpoint, progress: Callable[[int], None]) -> IntactVerdict | None:
    """Read every byte of a checkpoint, which also draws it into the page cache.

    Args:
        checkpoint: the checkpoint.
        progress: called with the number of bytes of each chunk that was read; it may raise an
            exception to stop.

    Returns:
        The verdict; None if files have changed meanwhile.

    Raises:
        CorruptCheckpointError: If it is damaged.
        StorageError: If the system refuses to read.
    """
    began, entries = time.time(), checkpoint.head.files
    before = [_file_now(checkpoint.path, entry) for entry in entries]
    verify_files(checkpoint.path, entries, progress=progress, files=checkpoint.files)
    files = tuple(
        file
        for file, entry in zip(before, entries, strict=True)
        if file is not None and file.is_still(_file_now(checkpoint.path, entry))
    )
    if len(files) < len(entries):
        return None
    return IntactVerdict(checkpoint=_path_of(checkpoint), files=files, verified_at=began)


def _path_of(checkpoint: Checkpoint) -> str:
    # Without links, because a program may name its run in another way than its launcher does.
    return os.path.realpath(checkpoint.path)


def _file_now(directory: Path, entry: FileEntry) -> VerifiedFile | None:
    """Return a file as it is now, without reading it; None if it is not a regular file."""
    try:
        status = os.lstat(directory / entry.name)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return VerifiedFile(
        name=entry.name,
        digest=entry.digest,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        device=status.st_dev,
        inode=status.st_ino,
        links=status.st_nlink,
    )
