"""The fence: shuts out what a process writes that has lost its run and does not know it yet.

A process that takes a run from a silent owner records which checkpoints there are. From then on the
earlier attempts have these and no others, for every reader. What one of them commits later does not
count. `FencedFiles` is the same on the side of the owner: each change of its first checks that the
run is still its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec

from ckptkit.layout import CheckpointName, RunLayout, fence_attempt
from ckptkit.log import logger
from ckptkit.storage.files import DISK, FileSystem, names_in

VERSION = 1
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Fence:
    """The checkpoints that an attempt saw when it took over.

    Args:
        attempt: its number.
        seen: the names of the checkpoints of earlier attempts.
        version: of this format.
    """

    attempt: int
    seen: tuple[str, ...]
    version: int = VERSION

    def shuts_out(self, name: CheckpointName) -> bool:
        """Whether a checkpoint was committed too late and does not count."""
        return name.attempt < self.attempt and str(name) not in self._seen

    @cached_property
    def _seen(self) -> frozenset[str]:
        # Asked for each of thousands of checkpoints: a search in the tuple would be quadratic.
        return frozenset(self.seen)


def write_fence(
    files: FileSystem, layout: RunLayout, attempt: int, seen: Iterable[CheckpointName]
) -> None:
    """Writes a fence durably, and then removes earlier ones.

    An earlier fence is contained in the new one: what it shuts out is not listed as a checkpoint,
    so it is not among those that are seen.

    Raises:
        StorageError: If the disk refuses.
    """
    files.replace_content(
        layout.fence(attempt),
        msgspec.json.encode(Fence(attempt=attempt, seen=tuple(map(str, seen)))),
    )
    files.sync_dir(layout.checkpoints)
    for name in names_in(files, layout.checkpoints):
        if (earlier := fence_attempt(name)) is not None and earlier < attempt:
            files.remove_file(layout.checkpoints / name)


def read_fences(paths: Iterable[Path], files: FileSystem = DISK) -> list[Fence]:
    """Returns the fences among the entries of `checkpoints/`.

    One that cannot be read is reported and shuts out nothing: a damaged file must not hide good
    checkpoints.

    Raises:
        FileNotFoundError: If one has vanished since the listing, because there is a newer one.
    """
    return [
        fence
        for path in paths
        if (attempt := fence_attempt(path.name)) is not None
        and (fence := _read(path, attempt, files)) is not None
    ]


def _read(path: Path, attempt: int, files: FileSystem) -> Fence | None:
    try:
        fence = msgspec.json.decode(files.read_bounded(path, _MOST_BYTES), type=Fence)
        if fence.version > VERSION or fence.attempt != attempt:
            raise ValueError(f"version {fence.version}, attempt {fence.attempt}")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        logger.warning(
            "%s cannot be read, so it shuts out no late save of an earlier process: %s", path, error
        )
        return None
    return fence


class FencedFiles(FileSystem):
    """A file system that refuses changes after its process has lost the run.

    Reads stay possible, and so does appending to the process's own journal: it disturbs nobody, and
    records what happened.

    Args:
        files: the file system below.
        check: raises if the run belongs to another process now.
    """

    def __init__(self, files: FileSystem, check: Callable[[], None]) -> None:
        self._files = files
        self._check = check

    @property
    def unowned(self) -> FileSystem:
        return self._files

    def make_dir(self, path: Path) -> None:
        self._check()
        self._files.make_dir(path)

    def create(self, path: Path, data: bytes) -> None:
        self._check()
        self._files.create(path, data)

    def replace_content(self, path: Path, data: bytes) -> None:
        self._check()
        self._files.replace_content(path, data)

    def overwrite(self, path: Path, data: bytes) -> None:
        self._check()
        self._files.overwrite(path, data)

    def read_bounded(self, path: Path, most_bytes: int) -> bytes:
        return self._files.read_bounded(path, most_bytes)

    def open_read(self, path: Path) -> BinaryIO:
        return self._files.open_read(path)

    def list_dir(self, path: Path) -> list[str]:
        return self._files.list_dir(path)

    def status(self, path: Path) -> os.stat_result | None:
        return self._files.status(path)

    def is_dir(self, path: Path) -> bool:
        return self._files.is_dir(path)

    def append(self, path: Path, data: bytes) -> None:
        self._files.append(path, data)

    def sync_file(self, path: Path) -> None:
        self._files.sync_file(path)

    def sync_dir(self, path: Path) -> None:
        self._files.sync_dir(path)

    def rename(self, source: Path, target: Path) -> None:
        self._check()
        self._files.rename(source, target)

    def remove_file(self, path: Path) -> None:
        self._check()
        self._files.remove_file(path)

    def remove_tree(self, path: Path) -> None:
        self._check()
        self._files.remove_tree(path)

    def free_bytes(self, path: Path) -> int | None:
        return self._files.free_bytes(path)
