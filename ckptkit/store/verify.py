"""Whether a checkpoint's files are what its manifest says."""

from __future__ import annotations

from pathlib import Path

import xxhash

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.store.catalog import Checkpoint
from ckptkit.store.files import REFUSED
from ckptkit.store.manifest import FileEntry

_CHUNK_BYTES = 4 * 1024 * 1024


def file_entry(path: Path) -> FileEntry:
    """Size and digest of a file (XXH3, 128 bits: it detects damage, not tampering)."""
    digest, size = xxhash.xxh3_128(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(name=path.name, size_bytes=size, digest=digest_name(digest))


def digest_name(digest: xxhash.xxh3_128) -> str:
    """A digest as manifests spell it."""
    return f"xxh3_128:{digest.hexdigest()}"


def verify(checkpoint: Checkpoint, *, quick: bool = False) -> None:
    """Compares a checkpoint's files with its manifest.

    Args:
        checkpoint: which.
        quick: compare sizes only, and read no data.

    Raises:
        CorruptCheckpointError: where a file is missing, cannot be read, or differs.
    """
    for expected in checkpoint.manifest.files:
        path = checkpoint.path / expected.name
        try:
            if not path.is_file() or path.is_symlink():
                raise CorruptCheckpointError(f"{path} is missing, or is no regular file.")
            size = path.stat().st_size
            if size != expected.size_bytes:
                raise CorruptCheckpointError(f"{path} has {size:,} bytes; its manifest says {expected.size_bytes:,}.")
            if not quick and file_entry(path).digest != expected.digest:
                raise CorruptCheckpointError(f"{path} has other bytes than those that were written (digest differs).")
        except OSError as error:
            if error.errno in REFUSED:
                raise StorageError(error.errno, f"Could not read {path}: {error.strerror}. That says nothing about the checkpoint: give this user "
                                                f"permission to read it, or look at the storage.") from error
            raise CorruptCheckpointError(f"{path} cannot be read: {error.strerror}.") from error
