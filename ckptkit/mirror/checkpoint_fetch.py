"""Fetches a checkpoint from a store into a run directory, verified while it arrives."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import xxhash

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import MANIFEST, RunLayout
from ckptkit.mirror.objects import ObjectMissingError, Objects
from ckptkit.mirror.store_records import Commit, StoredFile
from ckptkit.run.commit import begin_writing
from ckptkit.run.verify import digest_name
from ckptkit.storage.files import FileSystem, storage_errors

PART_BYTES = 8 * 1024 * 1024
CONNECTIONS = 4
"""Parts that are in memory at the same time. The client keeps a second copy while one arrives."""


def fetch_checkpoint(
    objects: Objects, commit: Commit, files: FileSystem, layout: RunLayout, attempt: int
) -> None:
    """Fetch a checkpoint under its name into the directory of its run.

    It arrives in a hidden directory, as a save is written, and one rename makes it visible. So a
    start that is killed leaves nothing that a reader sees.

    Args:
        objects: the store.
        commit: the commit on the store.
        files: how to change the disk.
        layout: the run.
        attempt: the attempt of this process, which owns the run.

    Raises:
        CorruptCheckpointError: If a file is missing on the store, or differs from the manifest.
        StorageError: If the store does not answer, or the disk refuses.
    """
    directory = begin_writing(files, layout, attempt)
    fetch_files(objects, commit, directory, files)
    files.create(directory / MANIFEST, commit.record.manifest.encode())
    files.sync_dir(directory)
    files.rename(directory, layout.checkpoint(commit.name.checkpoint))
    files.sync_dir(layout.checkpoints)


def fetch_files(
    objects: Objects,
    commit: Commit,
    directory: Path,
    files: FileSystem,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Fetch the files of a checkpoint into an empty directory, and sync them.

    Raises:
        CorruptCheckpointError: If a file is missing on the store, or differs from the manifest.
        StorageError: If the store does not answer, or the disk refuses.
    """
    for name, stored in commit.record.files.items():
        path = directory / name
        try:
            digest = _fetch_file(objects, stored, path, on_bytes)
        except ObjectMissingError as error:
            raise CorruptCheckpointError(
                f"{commit.name.checkpoint} on the object store has lost {name} ({stored.key}).",
                "missing",
                name,
            ) from error
        if digest != stored.digest:
            raise CorruptCheckpointError(
                f"{name} of {commit.name.checkpoint} on the object store is damaged: its digest is "
                f"{digest}, and the manifest says {stored.digest}.",
                "digest",
                name,
            )
        files.sync_file(path)


def _fetch_file(
    objects: Objects, stored: StoredFile, path: Path, on_bytes: Callable[[int], None]
) -> str:
    """Fetch a file with several connections; return its digest."""
    digest = xxhash.xxh3_128()
    starts = deque(range(0, stored.size_bytes, PART_BYTES))
    coming: deque[Future[bytes | memoryview]] = deque()
    with (
        storage_errors("write", path),
        path.open("xb", buffering=0) as file,
        ThreadPoolExecutor(CONNECTIONS, "ckptkit-fetch") as pool,
    ):
        while starts or coming:
            while starts and len(coming) < CONNECTIONS:
                start = starts.popleft()
                length = min(PART_BYTES, stored.size_bytes - start)
                coming.append(pool.submit(objects.read_range, stored.key, start, length))
            # In order, so that the digest is computed while later parts arrive.
            part = coming.popleft().result()
            digest.update(part)
            _write_all(file.fileno(), part)
            on_bytes(len(part))
    return digest_name(digest)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
