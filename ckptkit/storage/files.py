"""The seam between ckptkit and the disk, so that tests can put faults between two operations.

Whatever the owner of a run writes, renames or removes in the run directory goes through a
`FileSystem`. TensorFlow writes by itself, into a directory that no reader looks at. A few writers
that do not own the run, or must not wait for the disk, bypass the seam on purpose;
`docs/architecture.md` lists them with their reasons.

Files that may come from others are read with a limit of their size, through no link, and without
ever waiting.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from ckptkit.errors import CheckpointError, StorageError
from ckptkit.storage.operations import (
    Append,
    CreateFile,
    ListDir,
    MakeDir,
    Operation,
    Overwrite,
    ReadFile,
    ReadOperation,
    RemoveDir,
    Rename,
    Status,
    SyncDir,
    SyncFile,
    Truncate,
    Unlink,
)

_MORE_BYTES = 64 * 1024
"""Read at a time beyond the size that the file had when it was opened."""


class TooLargeError(OSError):
    """A file has more bytes than a file of its kind can have."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading.

    Raises:
        OSError: If it is missing or is something else: a link, a directory, a pipe, a device.
    """
    return os.fdopen(_open(path)[0], "rb")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Returns the content of a regular file.

    Raises:
        OSError: As `open_regular`, and if it has more than `most_bytes` (`EFBIG`).
    """
    descriptor, size = _open(path)
    try:
        data = os.read(descriptor, size + 1) if size <= most_bytes else b""
        while data and len(data) <= most_bytes and (more := os.read(descriptor, _MORE_BYTES)):
            data += more
    finally:
        os.close(descriptor)
    if max(size, len(data)) > most_bytes:
        raise TooLargeError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return data


def _open(path: Path) -> tuple[int, int]:
    """Opens a regular file; returns the descriptor and the size."""
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(
                errno.ELOOP, "it is a symbolic link, and none is followed", str(path)
            ) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor, found.st_size


_REMEDIES = {
    errno.ENOSPC: "Free some space, or keep fewer checkpoints (keep=ckptkit.KeepLatest(1)).",
    errno.EDQUOT: "The quota is used up: free some space, or keep fewer checkpoints.",
    errno.EACCES: "Give this user permission there, or name another directory.",
    errno.EPERM: "Give this user permission there, or name another directory.",
    errno.EROFS: "The file system is mounted read-only: remount it, or name another directory.",
    errno.ENOTDIR: "A file stands where a directory is expected: move it away, or name another "
    "directory.",
    errno.EEXIST: "A file stands where a directory is expected: move it away, or name another "
    "directory.",
    errno.EIO: "The device reports an error: look at the system's log before trusting this disk.",
}

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The disk, or the part of it that this user may use, has no free block or no free inode."""

TEMPORARY = ".tmp"
"""What is added to a file's name while its next content is written."""


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` inside the block into a `StorageError` with a remedy.

    Args:
        action: what is tried, as it follows "Could not".
        path: on which path.
    """
    try:
        yield
    except CheckpointError:  # a StorageError is an OSError too, and names its own action
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "")
        text = f"Could not {action} {path}: {error.strerror or error}. {remedy}".rstrip()
        raise StorageError(error.errno, text) from error


class FileSystem:
    """The real file system: the contract of every implementation.

    **Changes** either do their one thing or raise `StorageError` with what was tried and a remedy.
    They are made of operations, and all operations pass through `do`: a subclass that overrides it
    sees each one before it is done, and may refuse it.

    **Reads** raise a plain `OSError`, with the error number and the path. What a failed read means
    is for `proof_of_damage` to say: a missing file may be normal, damage, or a refusal that says
    nothing about the content. All reads pass through `before_read`, which may refuse them.

    `tests/storage/file_system_contract.py` holds the tests that every implementation passes.
    """

    def do(self, step: Operation) -> None:
        """Performs one operation.

        Raises:
            OSError: If the system refuses.
        """
        step.perform()

    def before_read(self, read: ReadOperation) -> None:
        """Called before each read; does nothing. Raise an `OSError` to refuse the read."""

    def read_bounded(self, path: Path, most_bytes: int) -> bytes:
        """Returns the content of a regular file; follows no link, and never waits at a pipe.

        Raises:
            OSError: If it is missing, is something else, or has more bytes than that (`EFBIG`).
        """
        self.before_read(ReadFile(path))
        return read_bounded(path, most_bytes)

    def open_read(self, path: Path) -> BinaryIO:
        """Opens a regular file for reading; follows no link, and never waits at a pipe.

        Raises:
            OSError: If it is missing or is something else.
        """
        self.before_read(ReadFile(path))
        return open_regular(path)

    def list_dir(self, path: Path) -> list[str]:
        """Returns the names in a directory, sorted.

        Raises:
            OSError: If it is missing or is something else.
        """
        self.before_read(ListDir(path))
        return sorted(os.listdir(path))

    def status(self, path: Path) -> os.stat_result | None:
        """Returns what a name stands for, or None if there is nothing; of a link, the link itself.

        Raises:
            OSError: If the system refuses to tell.
        """
        self.before_read(Status(path))
        try:
            return os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_dir(self, path: Path) -> bool:
        """Whether a directory is there. A link to one counts: a run directory may be a link.

        Raises:
            OSError: If the system refuses to tell.
        """
        self.before_read(Status(path))
        return path.is_dir()

    @property
    def unowned(self) -> FileSystem:
        """The same file system without a check of the ownership; see `FencedFiles`.

        Only for undoing an operation that was half done when the run was lost.
        """
        return self

    def make_dir(self, path: Path) -> None:
        """Makes a directory with its parents, durably; one that exists is fine.

        Each new name is synced in its parent: nothing inside a directory survives a loss of power
        if the directory's own name does not.
        """
        with storage_errors("make the directory", path):
            missing = (
                []
                if path.is_dir()
                else [path, *takewhile(lambda parent: not os.path.lexists(parent), path.parents)]
            )
            for each in reversed(missing):
                try:
                    self.do(MakeDir(each))
                except FileExistsError:  # another process was faster
                    if not each.is_dir():
                        raise
                self.do(SyncDir(each.parent))

    def create(self, path: Path, data: bytes) -> None:
        """Writes a new file and makes its content durable; refuses a name that is in use.

        Its name is durable after `sync_dir` of its directory.
        """
        with storage_errors("write", path):
            self.do(CreateFile(path))
            with self._whole_or_gone(path):
                self._fill(path, data)

    def replace_content(self, path: Path, data: bytes) -> None:
        """Replaces a file's content in one step: readers see either the old or the new content.

        That holds after a loss of power, too. Which of the two it is then is decided when the
        directory is synced. The caller does that if it matters: most files that ckptkit rewrites
        are hints that are made again.
        """
        temporary = path.with_name(path.name + TEMPORARY)
        with storage_errors("write", path):
            if os.path.lexists(temporary):
                self.do(Unlink(temporary))
            self.do(CreateFile(temporary))
            with self._whole_or_gone(temporary):
                self._fill(temporary, data)
                self.do(Rename(temporary, path))

    def overwrite(self, path: Path, data: bytes) -> None:
        """Replaces the content of an existing file in place and makes it durable.

        This needs no free block and no free inode as long as `data` fits into the file's blocks.
        It is not atomic: after a loss of power the file may hold a mixture. Use it only for files
        whose reader can tell a damaged one, and only if `replace_content` found no space.
        """
        with storage_errors("overwrite", path):
            self.do(Overwrite(path, data))
            self.do(SyncFile(path))

    def _fill(self, path: Path, data: bytes) -> None:
        if data:
            self.do(Append(path, data))
        self.do(SyncFile(path))

    @contextmanager
    def _whole_or_gone(self, path: Path) -> Iterator[None]:
        """Removes a new file again if the block fails."""
        try:
            yield
        except OSError:
            with suppress(OSError):
                self.do(Unlink(path))
            raise

    def append(self, path: Path, data: bytes) -> None:
        """Adds `data` at a file's end and makes it durable; makes the file if it is missing."""
        with storage_errors("append to", path):
            before = path.stat().st_size if path.exists() else 0
            try:
                self.do(Append(path, data))
                self.do(SyncFile(path))
            except OSError:
                # Half a line would spoil the next line as well. A device has no end to cut off.
                with suppress(OSError):
                    self.do(Truncate(path, before))
                raise

    def sync_file(self, path: Path) -> None:
        """Makes a file's content durable."""
        with storage_errors("sync", path):
            self.do(SyncFile(path))

    def sync_dir(self, path: Path) -> None:
        """Makes a directory's entries durable."""
        with storage_errors("sync the directory", path):
            self.do(SyncDir(path))

    def rename(self, source: Path, target: Path) -> None:
        """Renames a file or directory to a name that is not in use.

        It is durable after `sync_dir` of the directories of both names.
        """
        with storage_errors(f"rename {source.name} to", target):
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "the name is in use", str(target))
            self.do(Rename(source, target))

    def remove_file(self, path: Path) -> None:
        """Removes a file; one that is missing is fine."""
        with storage_errors("remove", path):
            if os.path.lexists(path):
                self.do(Unlink(path))

    def remove_tree(self, path: Path) -> None:
        """Removes a directory with everything in it; one that is missing is fine.

        Of a link, the link is removed and not its target.
        """
        with storage_errors("remove", path):
            if path.is_symlink() or path.is_file():
                self.do(Unlink(path))
            elif path.exists():
                self._remove_directory(path)

    def free_bytes(self, path: Path) -> int | None:
        """Returns the free bytes of the file system of a directory, or None if it reports none."""
        with storage_errors("look at the space of", path):
            usage = shutil.disk_usage(path)
        return usage.free if usage.total else None

    def _remove_directory(self, path: Path) -> None:
        # Not by recursion: a tree that others made may be deeper than Python's stack.
        found, to_visit = [], [path]
        while to_visit:
            found.append(to_visit.pop())
            with suppress(FileNotFoundError), os.scandir(found[-1]) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.is_dir(follow_symlinks=False):
                        to_visit.append(Path(entry.path))
                    else:
                        self.do(Unlink(Path(entry.path)))
        for directory in reversed(found):
            self.do(RemoveDir(directory))


DISK = FileSystem()
"""The file system of readers that were given none."""


def names_in(files: FileSystem, directory: Path) -> list[str]:
    """Returns the names in a directory, sorted; none if the directory is missing.

    Raises:
        StorageError: If it cannot be listed.
    """
    with storage_errors("list", directory):
        try:
            return files.list_dir(directory)
        except (FileNotFoundError, NotADirectoryError):
            # A second look: an error of the machine must not make a run look empty. A file may
            # stand in the place of a parent.
            if files.status(directory) is None:
                return []
            raise
