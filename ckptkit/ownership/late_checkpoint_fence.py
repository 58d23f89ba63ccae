"""Fences: files that hide the checkpoints of a process that had lost its run before the commit.

A process that takes a run from a silent owner records all existing checkpoints in a fence file.
Readers ignore every other checkpoint of earlier attempts, because it was committed too late. The
owner of a run uses `FencedFiles`, which checks before each change that the process still owns the
run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from ckptkit.layout import CheckpointName, RunLayout, fence_attempt
from ckptkit.log import logger
from ckptkit.storage.files import DISK, FileSystem, names_in
from ckptkit.storage.json_bytes import json_bytes

VERSION = 1
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Fence:
    """The content of a fence: the checkpoints that existed when an attempt took over the run.

    Args:
        attempt: the number of that attempt.
        seen: the names of all checkpoints of earlier attempts.
        version: the version of this format.
    """

    attempt: int
    seen: tuple[str, ...]
    version: int = VERSION

    def shuts_out(self, name: CheckpointName) -> bool:
        """Return whether a checkpoint was committed too late, so that it does not count."""
        return name.attempt < self.attempt and str(name) not in self._seen

    @cached_property
    def _seen(self) -> frozenset[str]:
        # Called for each of thousands of checkpoints: a search in the tuple would be quadratic.
        return frozenset(self.seen)


def write_fence(
    files: FileSystem, layout: RunLayout, attempt: int, seen: Iterable[CheckpointName]
) -> None:
    """Write a fence durably, and then remove earlier fences.

    The new fence includes earlier ones: a checkpoint that an earlier fence hides is not listed, so
    the new fence does not contain it either.

    Raises:
        StorageError: If the disk refuses.
    """
    files.replace_content(
        layout.fence(attempt),
        json_bytes(Fence(attempt=attempt, seen=tuple(map(str, seen)))),
    )
    files.sync_dir(layout.checkpoints)
    for name in names_in(files, layout.checkpoints):
        if (earlier := fence_attempt(name)) is not None and earlier < attempt:
            files.remove_file(layout.checkpoints / name)


def read_fences(paths: Iterable[Path], files: FileSystem = DISK) -> list[Fence]:
    """Return the fences among the entries of `checkpoints/`.

    A fence that cannot be read is reported and hides nothing, because a damaged file must not hide
    good checkpoints.

    Raises:
        FileNotFoundError: If a fence was replaced by a newer one since the listing.
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
            "%s cannot be read, so it hides no late save of an earlier process: %s", path, error
        )
        return None
    return fence
