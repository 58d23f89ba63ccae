"""Whether a .keras file is what was written: it is a zip archive, which has a CRC-32 of each member. Imports no TensorFlow."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError
from ckptkit.store.verify import judging


def check_archive(path: Path) -> int:
    """Reads every member of a .keras file, which is a zip archive with a CRC-32 of each.

    Returns:
        The bytes of the file.

    Raises:
        CorruptCheckpointError: where it is no whole archive, or a member is damaged.
        StorageError: where the system refuses to read.
    """
    with judging(path, path.name):
        try:
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise CorruptCheckpointError(f"{path} is no whole archive: {error}.", "unreadable", path.name) from error
        if bad is not None:
            raise CorruptCheckpointError(f"{bad} in {path} is damaged (CRC-32 differs).", "digest", path.name)
        return path.stat().st_size


