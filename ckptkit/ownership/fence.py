"""The fence: shuts out what a process commits that has lost its run and does not know it yet.

A process that takes a run from a silent owner records which checkpoints there are. From then on the
earlier attempts have these and no others, for every reader. What one of them commits later does not
count.
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
