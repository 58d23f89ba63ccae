"""Shutting out what a process commits that has lost its run and does not know it yet.

Whoever takes a run from a silent owner notes which checkpoints were there. From then on the earlier
attempts have these and no others, for every reader: what one of them commits later does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from ckptkit.layout import CheckpointName, RunLayout, fence_attempt
from ckptkit.log import logger
from ckptkit.storage.files import FileSystem
from ckptkit.storage.safe_read import read_bounded

VERSION = 1
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Fence:
    """What an attempt saw when it took over.

    Args:
        attempt: its number.
        seen: the checkpoints of earlier attempts that were there.
        version: of this form.
    """

    attempt: int
    seen: tuple[str, ...]
    version: int = VERSION

    def shuts_out(self, name: CheckpointName) -> bool:
        """Whether a checkpoint does not exist."""
        return name.attempt < self.attempt and str(name) not in self._seen

    @cached_property
    def _seen(self) -> frozenset[str]:
        # Asked for each of thousands of checkpoints: a search in the tuple would be quadratic.
        return frozenset(self.seen)


def put_up(
    files: FileSystem, layout: RunLayout, attempt: int, seen: Iterable[CheckpointName]
) -> None:
    """Notes what was there, durably. Earlier fences have said their part by then: what they shut
    out is not seen.

    Raises:
        StorageError: where the disk refuses.
    """
    files.replace_content(
        layout.fence(attempt),
        msgspec.json.encode(Fence(attempt=attempt, seen=tuple(map(str, seen)))),
    )
    files.sync_dir(layout.checkpoints)
    for path in sorted(layout.checkpoints.glob(".fence-*")):
        if (earlier := fence_attempt(path.name)) is not None and earlier < attempt:
            files.remove_file(path)


def read_fences(paths: Iterable[Path]) -> list[Fence]:
    """The fences among the entries of `checkpoints/`. One that cannot be read is said, and shuts
    out nothing.

    Raises:
        FileNotFoundError: where one has vanished since, because there is a newer one.
    """
    return [
        fence
        for path in paths
        if (attempt := fence_attempt(path.name)) is not None
        and (fence := _read(path, attempt)) is not None
    ]


def _read(path: Path, attempt: int) -> Fence | None:
    try:
        fence = msgspec.json.decode(read_bounded(path, _MOST_BYTES), type=Fence)
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
