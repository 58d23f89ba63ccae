"""`FileSystem`: all reads and changes of the disk pass through it, so tests can inject faults.

The owner of a run writes, renames and removes files in the run directory through a `FileSystem`.
TensorFlow writes by itself, into a directory that readers ignore. A few writers that do not own the
run, or must not wait for the disk, bypass it on purpose; `docs/architecture.md` lists them with the
reasons.

Files that others may have made are read with a size limit, without following links, and without
waiting.
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
    Link,
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
"""The bytes to read at a time if a file grows beyond its size at opening."""


class TooLargeError(OSError):
    """A file is larger than a file of its kind can be."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; raise `OSError` for links, directories and pipes."""
    return os.fdopen(_open(path)[0], "rb")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: As for `open_regular`; also if it has more than `most_bytes` (`EFBIG`).
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
    """Open a regular file; return the descriptor and the size."""
    try:
        # O_NONBLOCK: opening a pipe without a writer would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(
                errno.ELOOP, "it is a symbolic link, which is not followed", str(path)
            ) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor, found.st_size


_REMEDIES = {
    errno.ENOSPC: "Free some space, or keep fewer checkpoints (keep=ckptkit.KeepLatest(1)).",
    errno.EDQUOT: "The quota is used up: free some space, or keep fewer checkpoints.",
    errno.EACCES: "Give this user permission there, or name another directory.",
    errno.EPERM: "Give this user permission there, or name another directory.",
    errno.EROFS: "The file system is mounted read-only: remount it, or name another directory.",
    errno.ENOTDIR: "A file has the name of the directory: move it away, or name another directory.",
    errno.EEXIST: "A file has the name of the directory: move it away, or name another directory.",
    errno.EIO: "The device reports an error: check the system's log before you trust this disk.",
}

_NO_LINKS = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)
"""Error numbers with which file systems refuse a further name for a file."""

_COPIED_BYTES = 8 * 1024 * 1024

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers that mean: no free block or inode on the disk, or in the user's quota."""

TEMPORARY = ".tmp"
"""The suffix of a temporary file in which the next content of a file is written."""


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` in the block into a `StorageError` with a remedy.

    Args:
        action: the action in words, as after "Could not".
        path: the path on which it acts.
    """
    try:
        yield
    except CheckpointError:  # a StorageError is also an OSError, and already names its action
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "")
        text = f"Could not {action} {path}: {error.strerror or error}. {remedy}".rstrip()
        raise StorageError(error.errno, text) from error


class FileSystem:
    """The real file system, and the contract that every implementation fulfils.

    **Changes** either succeed completely or raise `StorageError` with a remedy. They consist of
    operations, which all pass through `do`. A subclass may override `do` to observe or refuse each
    operation.

    **Reads** raise a plain `OSError` with the error number and the path. `proof_of_damage` decides
    what a failed read means: a missing file may be normal, damage, or a refusal that proves nothing
    about the content. All reads pass through `before_read`, which may refuse them.

    `tests/storage/file_system_contract.py` holds the tests that every implementation passes.
    """

    def do(self, step: Operation) -> None:
        """Perform one operation on the disk.

        Raises:
            OSError: If the system refuses.
        """
        step.perform()

    def before_read(self, read: ReadOperation) -> None:
        """Called before each read; a subclass may raise an `OSError` here to refuse the read."""

    def read_bounded(self, path: Path, most_bytes: int) -> bytes:
        """Return the content of a regular file; refuse links, and never wait at a pipe.

        Raises:
            OSError: If the file is missing, not regular, or has more than `most_bytes` (`EFBIG`).
        """
        self.before_read(ReadFile(path))
        return read_bounded(path, most_bytes)

    def open_read(self, path: Path) -> BinaryIO:
        """Open a regular file for reading; refuse links, and never wait at a pipe.

        Raises:
            OSError: If it is missing or is something else.
        """
        self.before_read(ReadFile(path))
        return open_regular(path)

    def list_dir(self, path: Path) -> list[str]:
        """Return the sorted names in a directory.

        Raises:
            OSError: If it is missing or is something else.
        """
        self.before_read(ListDir(path))
        return sorted(os.listdir(path))

    def status(self, path: Path) -> os.stat_result | None:
        """Return the `stat` of a path without following links; None if the path does not exist.

        Raises:
            OSError: If the system gives another error.
        """
        self.before_read(Status(path))
        try:
            return os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_dir(self, path: Path) -> bool:
        """Return whether a path is a directory, or a link to one, because a run may be a link.

        Raises:
            OSError: If the system gives another error.
        """
        self.before_read(Status(path))
        return path.is_dir()

    @property
    def unowned(self) -> FileSystem:
        """The same file system without the ownership check of `FencedFiles`.

        Use it only to undo an operation that was half done when the run was lost.
        """
        return self

    def make_dir(self, path: Path) -> None:
        """Make a directory with its parents durably, unless it exists.

        Each new name is synced in its parent, because the content of a directory survives a power
        loss only if the directory's own name does.
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
                except FileExistsError:  # another process has created it meanwhile
                    if not each.is_dir():
                        raise
                self.do(SyncDir(each.parent))

    def create(self, path: Path, data: bytes) -> None:
        """Write a new file and make its content durable; refuse an existing name.

        The file's name is durable after `sync_dir` of its directory.
        """
        with storage_errors("write", path):
            self.do(CreateFile(path))
            with self._whole_or_gone(path):
                self._fill(path, data)

    def replace_content(self, path: Path, data: bytes) -> None:
        """Replace a file's content atomically: readers see either the old or the new content.

        That also holds after a power loss. To make the new content durable, the caller must sync
        the directory. Most files that ckptkit rewrites are only hints and need no sync.
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
        """Replace the content of an existing file in place, and make it durable.

        This needs no free block or inode if `data` fits into the file's blocks. It is not atomic:
        after a power loss the file may contain a mixture. Use it only if `replace_content` found no
        space, and if the file's reader detects damage.
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
        """Remove a new file again if the block fails."""
        try:
            yield
        except OSError:
            with suppress(OSError):
                self.do(Unlink(path))
            raise

    def append(self, path: Path, data: bytes) -> None:
        """Append `data` to a file and make it durable; create the file if it is missing."""
        with storage_errors("append to", path):
            before = path.stat().st_size if path.exists() else 0
            try:
                self.do(Append(path, data))
                self.do(SyncFile(path))
            except OSError:
                # Half a line would also damage the next line. A device cannot be truncated.
                with suppress(OSError):
                    self.do(Truncate(path, before))
                raise

    def sync_file(self, path: Path) -> None:
        """Make a file's content durable."""
        with storage_errors("sync", path):
            self.do(SyncFile(path))

    def sync_dir(self, path: Path) -> None:
        """Make a directory's entries durable."""
        with storage_errors("sync the directory", path):
            self.do(SyncDir(path))

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or directory to a name that does not exist.

        It is durable after `sync_dir` of both directories.
        """
        with storage_errors(f"rename {source.name} to", target):
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "the name is in use", str(target))
            self.do(Rename(source, target))

    def link(self, source: Path, target: Path) -> bool:
        """Give a durable file a second name; return whether the file system has hard links."""
        with storage_errors(f"link {source.name} to", target):
            try:
                self.do(Link(source, target))
                return True
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return False

    def share(self, source: Path, target: Path) -> None:
        """Link a file as `link` does, or copy it; a copy is durable after `sync_file`."""
        if self.link(source, target):
            return
        with storage_errors("write", target), self.open_read(source) as file:
            self.do(CreateFile(target))
            with self._whole_or_gone(target):
                while chunk := file.read(_COPIED_BYTES):
                    self.do(Append(target, chunk))

    def remove_file(self, path: Path) -> None:
        """Remove a file, if it exists."""
        with storage_errors("remove", path):
            if os.path.lexists(path):
                self.do(Unlink(path))

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with its content, if it exists.

        For a link, only the link is removed.
        """
        with storage_errors("remove", path):
            if path.is_symlink() or path.is_file():
                self.do(Unlink(path))
            elif path.exists():
                self._remove_directory(path)

    def free_bytes(self, path: Path) -> int | None:
        """Return the free bytes of a directory's file system, or None if unknown."""
        with storage_errors("read the free space of", path):
            usage = shutil.disk_usage(path)
        return usage.free if usage.total else None

    def _remove_directory(self, path: Path) -> None:
        # Not recursive: a directory tree of others may be deeper than Python's stack.
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
"""The real file system, which readers use by default."""


def names_in(files: FileSystem, directory: Path) -> list[str]:
    """Return the sorted names in a directory; none if the directory is missing.

    Raises:
        StorageError: If it cannot be listed.
    """
    with storage_errors("list", directory):
        try:
            return files.list_dir(directory)
        except (FileNotFoundError, NotADirectoryError):
            # Checked again: an error of the machine must not make a run look empty. A parent may
            # also be a file.
            if files.status(directory) is None:
                return []
            # Another process may have made it meanwhile.
            return files.list_dir(directory)
