"""The seed of a run, `seed/seed.json`: drawn once, and never changed afterwards.

The file is written in a draft directory, which then gets the name `seed` in one rename. So the file
is whole or missing whenever a process is killed. The rename fails if another process was faster,
because a directory cannot replace one with content. So all processes get the same seed. A hard link
would do the same for a plain file, but some network file systems have none.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import msgspec

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import SEED_FILE, RunLayout, is_seed_draft
from ckptkit.run.manifest import seal, unseal
from ckptkit.storage.files import DISK, FileSystem, names_in, storage_errors
from ckptkit.storage.json_bytes import json_bytes

VERSION = 1
LARGEST_SEED = 2**31 - 1
"""Python, NumPy, Keras and TensorFlow accept every seed from 1 to this one."""

_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class SeedRecord:
    """The content of `seed.json`.

    Args:
        seed: the seed.
        format_version: the version of the format.
    """

    seed: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_SEED)]
    format_version: int = VERSION


def read_seed(layout: RunLayout, files: FileSystem = DISK) -> int | None:
    """Return the seed that a run keeps, or None if it has none.

    Raises:
        CorruptCheckpointError: If the file is damaged, or a newer ckptkit wrote it.
        StorageError: If it cannot be read.
    """
    if SEED_FILE not in names_in(files, layout.seed):
        return None
    path = layout.seed / SEED_FILE
    with storage_errors("read", path):
        data = files.read_bounded(path, _MOST_BYTES)
    return decode_seed(data, str(path))


def decode_seed(data: bytes, place: str) -> int:
    """Return the seed in the content of `seed.json`.

    Args:
        data: the content.
        place: the path of the file, or its key on an object store.

    Raises:
        CorruptCheckpointError: If it is damaged, or a newer ckptkit wrote it.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).format_version
        if version > VERSION:
            raise CorruptCheckpointError(
                f"{place} has format version {version}; this ckptkit reads up to {VERSION}. Use "
                "the version of ckptkit that began the run, or a later one.",
                file=SEED_FILE,
            )
        if not unseal(data):
            raise ValueError("its digest differs")
        return msgspec.json.decode(data, type=SeedRecord).seed
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"Expected the seed of the run in {place}. Received a damaged file: {error}. Put a "
            f"copy of it back. If there is none, remove {place.rpartition('/')[0]}: the next start "
            "draws another seed, and with it the program may split its data differently.",
            "digest",
            SEED_FILE,
        ) from error


def keep_seed(files: FileSystem, layout: RunLayout, draw: Callable[[], int]) -> int:
    """Return the seed that a run keeps; draw and keep one if it has none.

    When this returns, the seed is durable.

    Args:
        files: how to change the disk.
        layout: the run; its directory is created if it is missing.
        draw: returns a new seed, from 1 to `LARGEST_SEED`.

    Raises:
        CorruptCheckpointError: see `read_seed`.
        StorageError: If the disk refuses.
    """
    kept = read_seed(layout, files)
    if kept is not None:
        # The process that wrote it may have been killed before its last sync. Storage that cannot
        # be written to has nothing left to sync.
        with suppress(StorageError):
            files.sync_dir(layout.root)
        return kept
    files.make_dir(layout.root)
    seed = draw()
    draft = layout.seed_draft(secrets.token_hex(8))
    try:
        files.make_dir(draft)
        files.create(draft / SEED_FILE, seal(msgspec.json.format(_content(seed), indent=1)))
        files.sync_dir(draft)
        files.rename(draft, layout.seed)
    except StorageError as error:
        with suppress(StorageError):
            files.remove_tree(draft)
        if (kept := read_seed(layout, files)) is None:
            raise _explained(error, layout) from error
        seed = kept
    files.sync_dir(layout.root)
    return seed


def _explained(error: StorageError, layout: RunLayout) -> StorageError:
    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
        return error
    return StorageError(
        error.errno,
        f"Expected {layout.seed} to be missing, or to hold the seed of the run in {SEED_FILE}. "
        "Received a directory without that file. Move it away, or name another directory.",
    )


def remove_seed_drafts(files: FileSystem, layout: RunLayout) -> None:
    """Remove the drafts of processes that were killed, once the run has a seed.

    A process that is still about to rename its draft fails at that, and takes the run's seed.

    Raises:
        StorageError: If the disk refuses.
    """
    names = names_in(files, layout.root)
    if layout.seed.name in names:
        for name in filter(is_seed_draft, names):
            files.remove_tree(layout.root / name)


@dataclass(frozen=True)
class _Version:
    format_version: int


def _content(seed: int) -> bytes:
    return json_bytes(SeedRecord(seed=seed))
