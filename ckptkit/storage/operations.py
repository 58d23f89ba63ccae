"""Defines each operation that changes or reads a run directory, as an object.

An operation is one system call, which happens completely or not at all. A crash happens between two
operations, a fault makes one fail, and a power loss undoes some. As objects, tests can inspect
them.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NO_SUCH_OPERATION = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


@dataclass(frozen=True)
class Operation:
    """The base class of all operations that change one path.

    Args:
        path: the path that is changed.

    Raises:
        NotImplementedError: From `perform` of this base class; each subclass overrides it.

    Example:
        >>> import pathlib
        >>> from ckptkit.testing import FaultyFiles
        >>> files = FaultyFiles()
        >>> files.make_dir(pathlib.Path("notes"))
        >>> [(step.kind, step.path.name) for step in files.steps][0]
        ('MakeDir', 'notes')
    """

    path: Path

    @property
    def kind(self) -> str:
        """The name of the class, such as `MakeDir` or `Rename`."""
        return type(self).__name__

    def perform(self) -> None:
        """Perform the operation.

        Raises:
            OSError: If the system refuses.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"


@dataclass(frozen=True)
class MakeDir(Operation):
    """Makes a new directory in an existing one."""

    def perform(self) -> None:
        os.mkdir(self.path)


@dataclass(frozen=True)
class CreateFile(Operation):
    """Creates a new, empty file; an existing name is refused, even if it is a link."""

    def perform(self) -> None:
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


@dataclass(frozen=True)
class Append(Operation):
    """Appends bytes to a file; creates a missing file, and follows no links.

    Args:
        data: the bytes.
    """

    data: bytes

    def perform(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.path, flags, 0o666), "ab", buffering=0) as file:
            # A nearly full disk accepts a part, and fails only at the next write.
            rest = memoryview(self.data)
            while rest:
                rest = rest[file.write(rest) :]

    def __str__(self) -> str:
        return f"{super().__str__()} ({len(self.data)} bytes)"


@dataclass(frozen=True)
class Overwrite(Operation):
    """Overwrites an existing file in place; follows no links.

    Args:
        data: the whole new content.
    """

    data: bytes

    def perform(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            # Written before it is truncated: a truncate would free the blocks, and on a full disk
            # another program could take them before the write.
            rest = memoryview(self.data)
            while rest:
                rest = rest[file.write(rest) :]
            file.truncate(len(self.data))

    def __str__(self) -> str:
        return f"{super().__str__()} ({len(self.data)} bytes)"


@dataclass(frozen=True)
class Truncate(Operation):
    """Truncates a file; follows no links.

    Args:
        size_bytes: the new size of the file.
    """

    size_bytes: int

    def perform(self) -> None:
        with os.fdopen(
            os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb", buffering=0
        ) as file:
            file.truncate(self.size_bytes)


@dataclass(frozen=True)
class SyncFile(Operation):
    """Makes a file's content durable, even if another process or TensorFlow wrote it."""

    def perform(self) -> None:
        _fsync(self.path, os.O_RDONLY | os.O_NOFOLLOW)


@dataclass(frozen=True)
class SyncDir(Operation):
    """Makes the names in a directory durable.

    Some network and bucket mounts do not support this. Their refusal is not an error, because they
    decide themselves when names are durable.
    """

    def perform(self) -> None:
        try:
            _fsync(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno not in _NO_SUCH_OPERATION:
                raise


@dataclass(frozen=True)
class Rename(Operation):
    """Renames a file or directory; an existing file with the new name is replaced.

    Args:
        target: the new name.
    """

    target: Path

    def perform(self) -> None:
        os.rename(self.path, self.target)

    def __str__(self) -> str:
        return f"{super().__str__()} {self.target.name}"


@dataclass(frozen=True)
class Link(Operation):
    """Gives a file a second name, for the same bytes.

    Args:
        target: the new name.
    """

    target: Path

    def perform(self) -> None:
        os.link(self.path, self.target, follow_symlinks=False)

    def __str__(self) -> str:
        return f"{super().__str__()} {self.target.name}"


@dataclass(frozen=True)
class Unlink(Operation):
    """Removes a file or a link, if it exists."""

    def perform(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)


@dataclass(frozen=True)
class RemoveDir(Operation):
    """Removes an empty directory, if it exists."""

    def perform(self) -> None:
        with suppress(FileNotFoundError):
            os.rmdir(self.path)


@dataclass(frozen=True)
class ReadOperation:
    """The base class of all reads of one path.

    A read is not an `Operation`, because a crash or a power loss does not undo it. But a disk may
    refuse it.

    Args:
        path: the path that is read.
    """

    path: Path

    @property
    def kind(self) -> str:
        """`ReadFile`, `ListDir` or `Status`."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"


@dataclass(frozen=True)
class ReadFile(ReadOperation):
    """Opens a file, or reads its content."""


@dataclass(frozen=True)
class ListDir(ReadOperation):
    """Lists the names in a directory."""


@dataclass(frozen=True)
class Status(ReadOperation):
    """Reads whether a path exists, its kind and its size."""


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
