"""Verifies a checkpoint: compares its files with its manifest."""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import xxhash

from ckptkit.errors import CorruptCheckpointError
from ckptkit.run.manifest import FileEntry
from ckptkit.storage.files import DISK, FileSystem
from ckptkit.storage.proof_of_damage import is_proven_missing, judging, not_read

if TYPE_CHECKING:
    from ckptkit.run.checkpoint_catalog import Checkpoint

Depth = Literal["auto", "full", "quick"]
"""How thoroughly a checkpoint is verified before it is restored.

`full` reads every byte, `quick` compares sizes and reads small files, `auto` is like `full` as long
as reading is fast."""

SECS_PER_GB = 1.0
"""The seconds per GB that `auto` may spend on reading.

The digest needs only a tenth of that, so slower reading means slow storage.
"""

_LEAST_SECS = 0.5
"""The seconds that small checkpoints may take in any case, so that they are read in full."""

SMALL_BYTES = 1024 * 1024
"""The size in bytes up to which even a quick verification reads a file, such as the index."""

_CHUNK_BYTES = 4 * 1024 * 1024


def reading_budget_secs(size_bytes: int) -> float:
    """Return how long it may take to read a checkpoint of so many bytes; see `SECS_PER_GB`."""
    return max(_LEAST_SECS, SECS_PER_GB * size_bytes / 1e9)


def file_entry(path: Path) -> FileEntry:
    """Return the size and digest of a file (XXH3, 128 bits: it detects damage, not tampering)."""
    digest, size = xxhash.xxh3_128(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(name=path.name, size_bytes=size, digest=digest_name(digest))


def digest_name(digest: xxhash.xxh3_128) -> str:
    """Return a digest as text in the form that manifests use."""
    return f"xxh3_128:{digest.hexdigest()}"


@dataclass(frozen=True)
class Read:
    """The result of a verification: how much was read.

    Args:
        size_bytes: the size of all its files, in bytes.
        read_bytes: the number of bytes that were read and are right.
        secs: the duration in seconds.
    """

    size_bytes: int
    read_bytes: int
    secs: float

    @property
    def in_full(self) -> bool:
        """Whether every byte was read."""
        return self.read_bytes >= self.size_bytes


class _TooSlowError(Exception):
    """Raised when the time for reading is over, so that the rest is compared by size."""


def verify(
    checkpoint: Checkpoint,
    *,
    quick: bool = False,
    budget_secs: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
    now: Callable[[], float] = time.monotonic,
) -> Read:
    """Compare a checkpoint's files with its manifest: their presence, sizes and digests.

    Args:
        checkpoint: the checkpoint.
        quick: read only small files, such as the index; compare the sizes of the others.
        budget_secs: the longest time to read large files, in seconds; the rest is compared by size.
            None reads everything.
        progress: called with the number of bytes of each chunk that was read.
        now: a monotonic clock, in seconds.

    Returns:
        How much was read.

    Raises:
        CorruptCheckpointError: If a file is missing or differs.
        StorageError: If the system refuses to read, which proves nothing about the file.
    """
    # A quick verification needs only the list of files, which is ten times faster to read.
    described = checkpoint.head if quick else checkpoint.manifest
    return verify_files(
        checkpoint.path,
        described.files,
        quick=quick,
        budget_secs=budget_secs,
        progress=progress,
        now=now,
        files=checkpoint.files,
    )


def verify_files(
    directory: Path,
    entries: Sequence[FileEntry],
    *,
    quick: bool = False,
    budget_secs: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
    now: Callable[[], float] = time.monotonic,
    files: FileSystem = DISK,
) -> Read:
    """Compare files with a list of names, sizes and digests; like `verify`, but without a manifest.

    Args:
        directory: the directory of the files.
        entries: their names, sizes and digests.
        quick, budget_secs, progress, now: as in `verify`.
        files: how to read them.

    Raises:
        CorruptCheckpointError, StorageError: As for `verify`.
    """
    began = now()
    deadline = None if budget_secs is None else began + budget_secs
    paths = {expected.name: directory / expected.name for expected in entries}
    for expected in entries:
        with judging(paths[expected.name], expected.name, files):
            _check_size(paths[expected.name], expected, files)
    read = 0
    # Small files first, because they are read even if the time is over.
    for expected in sorted(entries, key=lambda entry: entry.size_bytes):
        small = expected.size_bytes <= SMALL_BYTES
        if quick and not small:
            continue
        try:
            with judging(paths[expected.name], expected.name, files):
                _check_digest(
                    paths[expected.name],
                    expected,
                    progress,
                    None if small else deadline,
                    now,
                    files,
                )
        except _TooSlowError:
            break
        read += expected.size_bytes
    return Read(sum(entry.size_bytes for entry in entries), read, now() - began)


def bytes_to_read(entries: Sequence[FileEntry], *, quick: bool) -> int:
    """Return how many bytes `verify_files` reads of these files if all are intact."""
    return sum(
        entry.size_bytes for entry in entries if not quick or entry.size_bytes <= SMALL_BYTES
    )


def _check_size(path: Path, expected: FileEntry, files: FileSystem) -> None:
    found = files.status(path)
    if found is None and not is_proven_missing(path, files):
        raise not_read(path, errno.ENOENT)
    if found is None or not stat.S_ISREG(found.st_mode):
        raise CorruptCheckpointError(
            f"{path} is missing, or is not a regular file.", "missing", expected.name
        )
    if found.st_size != expected.size_bytes:
        raise CorruptCheckpointError(
            f"{path} has {found.st_size:,} bytes; its manifest says {expected.size_bytes:,}.",
            "size",
            expected.name,
        )


def _check_digest(
    path: Path,
    expected: FileEntry,
    progress: Callable[[int], None],
    deadline: float | None,
    now: Callable[[], float],
    files: FileSystem,
) -> None:
    digest = xxhash.xxh3_128()
    with files.open_read(path) as file:
        while chunk := file.read(min(_CHUNK_BYTES, expected.size_bytes + 1)):
            digest.update(chunk)
            progress(len(chunk))
            if deadline is not None and now() > deadline:
                raise _TooSlowError
    if digest_name(digest) != expected.digest:
        raise CorruptCheckpointError(
            f"{path} has changed since it was written (digest differs).",
            "digest",
            expected.name,
        )
