"""Verifies .keras files, which are zip archives with a CRC-32 for each member.

Imports no TensorFlow.
"""

from __future__ import annotations

import errno
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError
from ckptkit.storage.proof_of_damage import judging

ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""The exceptions of Python for a damaged archive; a flipped bit can name any compression method."""

_CHUNK_BYTES = 1024 * 1024


def check_archive(path: Path, progress: Callable[[int], None] = lambda _: None) -> int:
    """Verify a .keras file by reading every member and comparing its CRC-32.

    Args:
        path: the file.
        progress: called with the number of bytes read since the last call.

    Returns:
        The size of the file in bytes.

    Raises:
        CorruptCheckpointError: If it is not a complete archive, or a member is damaged.
        StorageError: If the system refuses to read.
    """
    with judging(path, path.name):
        try:
            with zipfile.ZipFile(path) as archive:
                bad = next(
                    (
                        info.filename
                        for info in archive.infolist()
                        if not _is_whole(archive, info, progress)
                    ),
                    None,
                )
        except (*ZIP_ERRORS, ValueError, OSError) as error:
            # EINVAL comes from an archive that names an offset before the beginning of the file.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            raise CorruptCheckpointError(
                f"{path} is not a complete zip archive: {error}.", "unreadable", path.name
            ) from error
        if bad is not None:
            raise CorruptCheckpointError(
                f"{bad} in {path} is damaged (CRC-32 differs).", "digest", path.name
            )
        return path.stat().st_size


def _is_whole(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, progress: Callable[[int], None]
) -> bool:
    try:
        with archive.open(info) as member:
            while chunk := member.read(_CHUNK_BYTES):
                progress(len(chunk) * info.compress_size // max(1, info.file_size))
    except zipfile.BadZipFile:
        return False
    return True
