"""The result of a verification, which another process may use instead of verifying again.

It is bound to the files that were read: their names, sizes, times and inodes. If any of these
differs, the verdict is worthless, and the checkpoint is verified as usual.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.verify import verify_files

VERDICT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class VerifiedFile:
    """A file as it was while it was verified.

    Args:
        name: its name in the checkpoint's directory.
        size_bytes: its size.
        mtime_ns, ctime_ns: when its content and its inode were changed, in nanoseconds.
        device, inode: which file it is.
    """

    name: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int


@dataclass(frozen=True, kw_only=True)
class IntactVerdict:
    """A checkpoint that was read in full and is intact.

    Args:
        checkpoint: the path of its directory, absolute and without links.
        files: all files in that directory.
        version: the version of this format.
    """

    checkpoint: str
    files: tuple[VerifiedFile, ...]
    version: int = VERDICT_VERSION

    def holds_for(self, checkpoint: Checkpoint) -> bool:
        """Return whether this is about a checkpoint, and its files are the same as then."""
        return (
            bool(self.files)
            and self.checkpoint == _path_of(checkpoint)
            and self.files == _files_in(checkpoint.path)
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
    before = _files_in(checkpoint.path)
    verify_files(checkpoint.path, checkpoint.head.files, progress=progress, files=checkpoint.files)
    if before is None or before != _files_in(checkpoint.path):
        return None
    return IntactVerdict(checkpoint=_path_of(checkpoint), files=before)


def _path_of(checkpoint: Checkpoint) -> str:
    # Without links, because a program may name its run in another way than its launcher does.
    return os.path.realpath(checkpoint.path)


def _files_in(directory: Path) -> tuple[VerifiedFile, ...] | None:
    """Return the files of a directory by name; None if they cannot be listed."""
    try:
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return None
    return tuple(
        VerifiedFile(
            name=name,
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            device=status.st_dev,
            inode=status.st_ino,
        )
        for name, status in sorted(found)
    )
