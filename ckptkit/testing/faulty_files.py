"""A file system with faults that a test sets, and a record of all operations."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import Append, Operation, Overwrite, ReadOperation

Predicate = Callable[[Operation], bool]
"""A function that selects the operations that a fault counts."""

ReadPredicate = Callable[[ReadOperation], bool]
"""A function that selects the reads that a fault counts."""


@dataclass
class _Fault:
    """A fault at the `at`-th operation that `when` accepts: its kind, and how often it happens."""

    strike: Callable[[Operation], None]
    when: Predicate | None
    at: int
    times: int | None
    after_bytes: int | None
    seen: int = 0

    def meets(self, step: Operation) -> bool:
        if self.when is not None and not self.when(step):
            return False
        self.seen += 1
        return self.seen >= self.at and (self.times is None or self.seen < self.at + self.times)


@dataclass
class _ReadFault:
    """A fault at the `at`-th read that `when` accepts, and how often it happens."""

    number: int
    when: ReadPredicate | None
    at: int
    times: int | None
    seen: int = 0

    def meets(self, read: ReadOperation) -> bool:
        if self.when is not None and not self.when(read):
            return False
        self.seen += 1
        return self.seen >= self.at and (self.times is None or self.seen < self.at + self.times)


class FaultyFiles(FileSystem):
    """The real file system with faults: failing operations, torn writes, kills between operations.

    Every change that ckptkit makes in a run directory is an operation (a step): one `mkdir`,
    `write`, `fsync`, `rename`, `unlink` and so on. TensorFlow's own writes are not operations. If
    several faults are set, the first one that matches an operation applies.

    Attributes:
        steps: the operations that were done, in order, without refused ones.
        reads: the reads, in order, including refused ones.
        reached: how often a fault applied. A test that sets a fault should check this, or it proves
            nothing.

    Raises:
        ValueError: If a fault could never apply.

    Example:
        >>> import ckptkit, errno, pathlib
        >>> from ckptkit.testing import FaultyFiles
        >>> files = FaultyFiles()
        >>> files.fail(errno.EIO, when=lambda step: step.kind == "SyncFile")
        >>> try:
        ...     files.create(pathlib.Path("notes"), b"some")
        ... except ckptkit.StorageError as error:
        ...     print(errno.errorcode[error.errno], files.reached)
        EIO 1
        >>> [str(step) for step in files.steps]
        ['CreateFile notes', 'Append notes (4 bytes)', 'Unlink notes']
    """

    def __init__(self) -> None:
        self.steps: list[Operation] = []
        self.reads: list[ReadOperation] = []
        self._read_faults: list[_ReadFault] = []
        self.reached = 0
        self._faults: list[_Fault] = []

    def fail(
        self,
        number: int = errno.EIO,
        *,
        at: int = 1,
        when: Predicate | None = None,
        times: int | None = 1,
        after_bytes: int | None = None,
    ) -> None:
        """Make an operation fail.

        Args:
            number: the system's error number: `errno.ENOSPC`, `errno.EIO`, `errno.EACCES`, ...
            at: the number of the counted operation that fails; 1 is the next one.
            when: selects the operations to count; by default all.
            times: how many operations fail from there on; None for all.
            after_bytes: for a write, the number of bytes that are written before it fails.

        Raises:
            ValueError: If `at` or `times` is not a positive number.
        """

        def refuse(step: Operation) -> None:
            raise OSError(number, os.strerror(number), str(step.path))

        self._add(_Fault(refuse, when, at, times, after_bytes))

    def kill(
        self,
        *,
        at: int = 1,
        when: Predicate | None = None,
        after: bool = False,
        after_bytes: int | None = None,
    ) -> None:
        """Kill this process by SIGKILL right before an operation, or right after it.

        Args:
            at: the number of the counted operation that fails; 1 is the next one.
            when: selects the operations to count; by default all.
            after: whether to do the operation before the kill.
            after_bytes: for a write, the number of bytes that are written before the kill.

        Raises:
            ValueError: If `at` is not a positive number.
        """

        def die(step: Operation) -> None:
            if after:
                super(FaultyFiles, self).do(step)
            os.kill(os.getpid(), signal.SIGKILL)

        self._add(_Fault(die, when, at, 1, after_bytes))

    def fail_read(
        self,
        number: int = errno.EIO,
        *,
        at: int = 1,
        when: ReadPredicate | None = None,
        times: int | None = 1,
    ) -> None:
        """Make a read fail; reads are counted separately from changes.

        Args:
            number: the system's error number: `errno.EIO`, `errno.EACCES`, `errno.ESTALE`, ...
            at: the number of the counted read that fails; 1 is the next one.
            when: selects the reads to count; by default all.
            times: how many operations fail from there on; None for all.

        Raises:
            ValueError: If `at` or `times` is not a positive number.

        Example:
            >>> import errno, pathlib
            >>> from ckptkit.testing import FaultyFiles
            >>> files = FaultyFiles()
            >>> files.fail_read(errno.ESTALE, when=lambda read: read.kind == "ListDir")
            >>> try:
            ...     files.list_dir(pathlib.Path("."))
            ... except OSError as error:
            ...     print(errno.errorcode[error.errno], files.reached)
            ESTALE 1
        """
        _check_counts(at, times)
        self._read_faults.append(_ReadFault(number, when, at, times))

    def before_read(self, read: ReadOperation) -> None:
        """Record a read, and refuse it if a fault applies.

        Raises:
            OSError: If a fault applies.
        """
        self.reads.append(read)
        met = [fault for fault in self._read_faults if fault.meets(read)]
        if met:
            self.reached += 1
            raise OSError(met[0].number, os.strerror(met[0].number), str(read.path))

    def heal(self) -> None:
        """Remove all faults."""
        self._faults.clear()
        self._read_faults.clear()

    def do(self, step: Operation) -> None:
        fault = next((fault for fault in [each for each in self._faults if each.meets(step)]), None)
        if fault is not None:
            self.reached += 1
            if fault.after_bytes is not None and isinstance(step, Append | Overwrite):
                self._perform(replace(step, data=step.data[: fault.after_bytes]))
            fault.strike(step)
        self._perform(step)

    def _perform(self, step: Operation) -> None:
        super().do(step)
        self.steps.append(step)

    def _add(self, fault: _Fault) -> None:
        _check_counts(fault.at, fault.times)
        self._faults.append(fault)


def _check_counts(at: int, times: int | None) -> None:
    if at < 1 or (times is not None and times < 1):
        raise ValueError(
            f"Steps count from 1, and a fault applies at least once. Received: at={at}, "
            f"times={times}."
        )
