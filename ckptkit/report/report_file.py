"""Writes a report atomically, and never replaces a file that is not a report."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ckptkit.errors import ConfigError, StorageError
from ckptkit.report.html_page import REPORT_MARK


def check_report_path(path: Path) -> None:
    """Check that a report may be written to a path.

    Raises:
        ConfigError: If another file would be replaced, or the directory does not exist.
        StorageError: If the existing file cannot be read.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ConfigError(
                f"There is no directory {path.parent}. Expected a file in an existing directory. "
                "Create the directory first."
            ) from None
        return
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be a file: {error.strerror}. Name another file."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        # Writing to a device or a pipe would replace it by a regular file.
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
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
            f"{path} exists and is not a report, so it is not replaced. Name another file, or "
            "remove that one first."
        )


def write_report(path: Path, data: bytes) -> None:
    """Write a report durably to a temporary file, and then rename that to the report's name.

    If the path is a link, the target of the link is replaced.

    Raises:
        ConfigError: As for `check_report_path`, which is called once more.
        StorageError: If the disk refuses; the earlier file then stays as it was.
    """
    check_report_path(path)
    target = path.resolve()
    # In the same directory, because a rename is atomic only within one file system. The name is
    # shortened, because names have at most 255 bytes.
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
    try:
        with open(
            os.open(
                temporary,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o666,
            ),
            "wb",
        ) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StorageError(
            error.errno,
            f"Could not write {path}: {error.strerror}. Nothing was changed. Name another file.",
        ) from error
