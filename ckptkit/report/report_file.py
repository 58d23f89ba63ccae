"""Putting a report where it was asked for: whole or not at all, and over nothing but an earlier
report.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ckptkit.errors import ConfigError, StorageError
from ckptkit.report.html_page import REPORT_MARK


def check_report_path(path: Path) -> None:
    """Whether a report may be written there.

    Raises:
        ConfigError: where something else is there that a report would replace, or its directory is
            not there.
        StorageError: where what is there cannot be read.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ConfigError(
                f"There is no directory {path.parent}. Expected a file in a directory that is "
                "there; make it first."
            ) from None
        return
    except OSError as error:
        raise ConfigError(
            f"{path} is no place for a file: {error.strerror}. Name another one."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise ConfigError(f"{path} is {kind}. Expected the name of a file, such as run.html.")
    try:
        with path.open("rb") as file:
            ours = file.read(len(REPORT_MARK)) == REPORT_MARK
    except OSError as error:
        raise StorageError(
            error.errno, f"Could not read {path}: {error.strerror}. Name another file."
        ) from error
    if not ours:
        raise ConfigError(
            f"{path} is there, and ckptkit report has not made it, so it is not replaced. Name "
            "another file, or remove that one first."
        )


def write_report(path: Path, data: bytes) -> None:
    """Writes a report: to a file beside, durably, which then takes the name. What a link leads to
    is replaced, and not the link.

    Raises:
        ConfigError: as `check_target`, which is asked once more.
        StorageError: where the disk refuses; what was there is then as it was.
    """
    check_report_path(path)
    target = path.resolve()
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
    try:
        with open(
            os.open(
                beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
            ),
            "wb",
        ) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(beside, target)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StorageError(
            error.errno,
            f"Could not write {path}: {error.strerror}. Nothing was changed. Name another place.",
        ) from error
