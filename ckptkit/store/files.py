"""The operations that change a run directory: one small seam, so that tests can put faults between them.

Everything that ckptkit itself writes, renames or removes goes through a `FileSystem`. What TensorFlow writes goes into a
directory that no reader looks at.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptkit.errors import StorageError

_REMEDIES = {
    errno.ENOSPC: "Free some space, or keep fewer checkpoints (keep=ckptkit.KeepLatest(1)).",
    errno.EDQUOT: "The quota is used up: free some space, or keep fewer checkpoints.",
    errno.EACCES: "Give this user permission there, or name another directory.",
    errno.EPERM: "Give this user permission there, or name another directory.",
    errno.EROFS: "The file system is mounted read-only: remount it, or name another directory.",
    errno.ENOTDIR: "A file stands where a directory is expected: move it away, or name another directory.",
    errno.EEXIST: "A file stands where a directory is expected: move it away, or name another directory.",
    errno.EIO: "The device reports an error: look at the system's log before trusting this disk.",
}


REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE})
"""Errors of reading that say nothing about the file's content."""


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` inside the block into a `StorageError` that says what was tried, where, and what to do."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "")
        text = f"Could not {action} {path}: {error.strerror or error}. {remedy}".rstrip()
        raise StorageError(error.errno, text) from error


class FileSystem:
    """The real file system. Every method either does its one thing or raises `StorageError`."""

    def make_dir(self, path: Path) -> None:
        """Makes a directory with its parents; one that is there already is fine."""
        with storage_errors("make the directory", path):
            path.mkdir(parents=True, exist_ok=True)

    def create(self, path: Path, data: bytes) -> None:
        """Writes a file that must not be there yet, and makes its content durable."""
        with storage_errors("write", path), path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def replace_content(self, path: Path, data: bytes) -> None:
        """Gives a file a new content in one step: readers see the old one or the new one."""
        temporary = path.with_name(path.name + ".tmp")
        with storage_errors("write", path):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)

    def append(self, path: Path, data: bytes) -> None:
        """Adds `data` at a file's end and makes it durable."""
        with storage_errors("append to", path), path.open("ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # a device has no end to cut off
                    file.truncate(before)  # half a line would spoil the next one as well
                raise

    def sync_file(self, path: Path) -> None:
        """Makes a file's content durable."""
        with storage_errors("sync", path):
            _fsync(path, os.O_RDONLY)

    def sync_dir(self, path: Path) -> None:
        """Makes a directory's entries durable."""
        with storage_errors("sync the directory", path):
            _fsync(path, os.O_RDONLY | os.O_DIRECTORY)

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file or directory a name that is not in use."""
        with storage_errors(f"rename {source.name} to", target):
            if target.exists():
                raise FileExistsError(errno.EEXIST, "the name is in use", str(target))
            source.rename(target)

    def remove_file(self, path: Path) -> None:
        """Removes a file; one that is gone already is fine."""
        with storage_errors("remove", path):
            path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Removes a directory with all that is in it; one that is gone already is fine."""
        with storage_errors("remove", path):
            if path.exists():
                shutil.rmtree(path)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
