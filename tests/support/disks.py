"""Disks for tests: each is a real file system on which something happens at chosen operations.

`ckptkit.testing.FaultyFiles` refuses, tears and kills. `Disk` adds actions of a test's own, before
or after an operation; several may be set, and combine with faults.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import Operation, SyncDir, SyncFile
from ckptkit.testing import FaultyFiles

When = Callable[[Operation], bool]


def starts_a_save(step: Operation) -> bool:
    """Whether the directory of a new checkpoint or export is made."""
    return step.kind == "MakeDir" and step.path.name.startswith(".writing")


def finishes_files(step: Operation) -> bool:
    """Whether the directory of a new checkpoint or export is synced: all its files are written."""
    return step.kind == "SyncDir" and step.path.name.startswith(".writing")


def syncs_a_new_file(step: Operation) -> bool:
    """Whether a file of a checkpoint that is being written is synced."""
    return step.kind == "SyncFile" and step.path.parent.name.startswith(".writing")


@dataclass
class _Action:
    when: When
    act: Callable[[Path], object]
    times: int | None

    def meets(self, step: Operation) -> bool:
        return self.times != 0 and self.when(step)

    def run(self, step: Operation) -> None:
        if self.times is not None:
            self.times -= 1  # first: what is done may pass through this disk itself
        self.act(step.path)


class Disk(FaultyFiles):
    """A disk on which actions of a test's own run at chosen operations.

    Example:
        disk = Disk().before(starts_a_save, lambda path: time.sleep(2))
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: list[_Action] = []
        self._after: list[_Action] = []

    def before(
        self, when: When, act: Callable[[Path], object], *, times: int | None = None
    ) -> Disk:
        """Run `act(path)` before each operation that `when` accepts, so many times; return self."""
        self._before.append(_Action(when, act, times))
        return self

    def after(self, when: When, act: Callable[[Path], object], *, times: int | None = None) -> Disk:
        """Run `act(path)` after each operation that `when` accepts, so many times; return self."""
        self._after.append(_Action(when, act, times))
        return self

    def refuse(self, when: When, error: BaseException, *, times: int | None = None) -> Disk:
        """Raise `error` instead of each operation that `when` accepts; return self."""

        def strike(_: Path) -> None:
            self.reached += 1
            raise error

        return self.before(when, strike, times=times)

    def heal(self) -> None:
        """End all faults and actions."""
        super().heal()
        self._before.clear()
        self._after.clear()

    def do(self, step: Operation) -> None:
        for action in [each for each in self._before if each.meets(step)]:
            action.run(step)
        super().do(step)
        for action in [each for each in self._after if each.meets(step)]:
            action.run(step)


def slow_disk(secs: float, when: When = starts_a_save) -> Disk:
    """A disk that takes so long for each save."""
    return Disk().before(when, lambda _: time.sleep(secs))


class Unsynced(FileSystem):
    """The real file system without waiting for the disk.

    For tests that kill processes: what a process has written survives it without a sync. The model
    of a power loss knows syncs by their operations and needs none either.
    """

    def do(self, step: Operation) -> None:
        if not isinstance(step, SyncFile | SyncDir):
            super().do(step)
