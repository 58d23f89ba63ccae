"""The single operations by which a run directory is changed or read, as data.

An operation is one thing that the kernel does or does not do. A crash happens between two of them,
a fault hits one of them, and a loss of power undoes some of them. So tests need to name them.
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
    """One operation on one path.

    Args:
        path: what is changed.

    Raises:
        NotImplementedError: By `perform` of this base class; each kind has its own.

    Example:
        >>> import pathlib
        >>> from ckptkit.testing import FaultyFiles
        >>> files = FaultyFiles()
        >>> files.make_dir(pathlib.Path(new_directory) / "notes")
        >>> [(step.kind, step.path.name) for step in files.steps][0]
        ('MakeDir', 'notes')
    """

    path: Path

    @property
    def kind(self) -> str:
        """The name of the class, such as `MakeDir` or `Rename`."""
        return type(self).__name__

    def perform(self) -> None:
        """Performs the operation.

        Raises:
            OSError: If the system refuses.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"


@dataclass(frozen=True)
class MakeDir(Operation):
    """A new directory in an existing one."""

    def perform(self) -> None:
        os.mkdir(self.path)


@dataclass(frozen=True)
class CreateFile(Operation):
    """A new, empty file. A name that is in use is refused, also if it is a link."""

    def perform(self) -> None:
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


@dataclass(frozen=True)
class Append(Operation):
    """Bytes at a file's end; the file is made if it is missing, and links are not followed.

    Args:
        data: the bytes.
    """

    data: bytes

    def perform(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.path, flags, 0o666), "ab", buffering=0) as file:
            # A disk that is nearly full takes a part, and fails at the next write only.
            rest = memoryview(self.data)
            while rest:
                rest = rest[file.write(rest) :]

    def __str__(self) -> str:
        return f"{super().__str__()} ({len(self.data)} bytes)"


@dataclass(frozen=True)
class Overwrite(Operation):
    """Other content for an existing file, in place; links are not followed.

    Args:
        data: the whole new content.
    """

    data: bytes

    def perform(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            # Written before it is cut: cutting first would give the blocks back, and on a full
            # disk another program could take them before the write.
            rest = memoryview(self.data)
            while rest:
                rest = rest[file.write(rest) :]
            file.truncate(len(self.data))

    def __str__(self) -> str:
        return f"{super().__str__()} ({len(self.data)} bytes)"


@dataclass(frozen=True)
class Truncate(Operation):
    """Cuts off a file's end; links are not followed.

    Args:
        size_bytes: what is left.
    """

    size_bytes: int

    def perform(self) -> None:
        with os.fdopen(
            os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb", buffering=0
        ) as file:
            file.truncate(self.size_bytes)


@dataclass(frozen=True)
class SyncFile(Operation):
    """Makes a file's content durable, also what another process wrote (TensorFlow's files)."""

    def perform(self) -> None:
        _fsync(self.path, os.O_RDONLY | os.O_NOFOLLOW)


@dataclass(frozen=True)
class SyncDir(Operation):
    """Makes the names in a directory durable.

    Some network and bucket mounts have no such operation. They decide by themselves how durable
    names are, so their refusal is no error.
    """

    def perform(self) -> None:
        try:
            _fsync(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno not in _NO_SUCH_OPERATION:
                raise


@dataclass(frozen=True)
class Rename(Operation):
    """Another name for a file or directory. A file of that name is replaced.

    Args:
        target: the new name.
    """

    target: Path

    def perform(self) -> None:
        os.rename(self.path, self.target)

    def __str__(self) -> str:
        return f"{super().__str__()} {self.target.name}"


@dataclass(frozen=True)
class Unlink(Operation):
    """Removes a file, or a link and not its target; one that is missing is fine."""

    def perform(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)


@dataclass(frozen=True)
class RemoveDir(Operation):
    """Removes an empty directory; one that is missing is fine."""

    def perform(self) -> None:
        with suppress(FileNotFoundError):
            os.rmdir(self.path)


@dataclass(frozen=True)
class ReadOperation:
    """One read of a path.

    It is not an `Operation`: a crash or a loss of power undoes nothing of it, but a disk may refuse
    it.

    Args:
        path: what is looked at.
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
    """The content of a file, or the opening of it."""


@dataclass(frozen=True)
class ListDir(ReadOperation):
    """The names in a directory."""


@dataclass(frozen=True)
class Status(ReadOperation):
    """Whether there is anything of this name, and of which kind and size."""


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
