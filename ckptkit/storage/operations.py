"""The single operations by which a run directory is changed, as data.

A step is one thing that the kernel does or does not do. A crash falls between two of them, a fault
hits one of them, and a loss of power takes back some of them: that is what makes them worth having
by name.
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
        NotImplementedError: by `perform` of this class itself; each kind of step does its own
            thing.

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
        """`MakeDir`, `CreateFile`, `Append`, `Overwrite`, `Truncate`, `SyncFile`, `SyncDir`,
        `Rename`, `Unlink` or `RemoveDir`.
        """
        return type(self).__name__

    def perform(self) -> None:
        """Does it.

        Raises:
            OSError: where the system refuses.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"


@dataclass(frozen=True)
class MakeDir(Operation):
    """A new directory in one that is there."""

    def perform(self) -> None:
        os.mkdir(self.path)


@dataclass(frozen=True)
class CreateFile(Operation):
    """A new, empty file. Where a name is in use, also as a link, it is refused."""

    def perform(self) -> None:
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


@dataclass(frozen=True)
class Append(Operation):
    """Bytes at a file's end; the file is made where it is missing, and links are not followed.

    Args:
        data: the bytes.
    """

    data: bytes

    def perform(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.path, flags, 0o666), "ab", buffering=0) as file:
            rest = memoryview(self.data)
            while rest:  # a disk that is nearly full takes a part, and says so at the next write
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
    """Makes a file's content durable, whoever wrote it."""

    def perform(self) -> None:
        _fsync(self.path, os.O_RDONLY | os.O_NOFOLLOW)


@dataclass(frozen=True)
class SyncDir(Operation):
    """Makes a directory's entries durable: the names in it, and what they lead to.

    Some network and bucket mounts have no such operation; how durable names are there is their own
    affair.
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
    """Takes a file's name away, or a link's, not what it leads to; one that is gone already is
    fine.
    """

    def perform(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)


@dataclass(frozen=True)
class RemoveDir(Operation):
    """Takes away an empty directory; one that is gone already is fine."""

    def perform(self) -> None:
        with suppress(FileNotFoundError):
            os.rmdir(self.path)


@dataclass(frozen=True)
class Read:
    """Looking at one path without changing it. It is no `Operation`: a crash or a loss of power
    takes nothing of it back, but a disk may refuse it.

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
class ReadFile(Read):
    """The content of a file, or the opening of it."""


@dataclass(frozen=True)
class ListDir(Read):
    """The names in a directory."""


@dataclass(frozen=True)
class Status(Read):
    """Whether there is anything of this name, and of which kind and size."""


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
