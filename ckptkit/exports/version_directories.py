"""A directory of exported versions: numbered as servers expect it, each published by one rename and
taken away by one.

TensorFlow Serving takes the largest number in the directory that it watches, at any moment. So a
version is written and proven under a name that is no number. `docs/format.md` has the order and its
reasons. No TensorFlow here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ckptkit.errors import ConfigError, ExportError
from ckptkit.exports.export_record import EXPORT_RECORD, ExportRecord, encode_export, read_export
from ckptkit.exports.unfinished_versions import clean_up, owner
from ckptkit.layout import expanded
from ckptkit.run.audit_orders import written
from ckptkit.run.manifest import FileEntry
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import FileSystem, storage_errors

_NUMBER = re.compile(r"[0-9]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
MAX_VERSION = 2**63 - 1
"""TensorFlow Serving keeps a version in 64 bits."""


@dataclass(frozen=True)
class Version:
    """One version in a base directory.

    Args:
        number: its number.
        path: its directory.
        record: what it says of itself; None where it is not of ckptkit's making, or cannot be read.
    """

    number: int
    path: Path
    record: ExportRecord | None


def check_base(directory: object) -> Path:
    """Checks that versions can be published in a directory.

    Raises:
        ConfigError: where it is no path, an object store's URL, or a file.
    """
    text = os.fspath(directory) if isinstance(directory, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(
            f"A model is published in a directory, which is a path. Received: {directory!r}."
        )
    if _URL.match(text):
        raise ConfigError(
            "A model is published in a directory on a mounted file system. Received the URL "
            f"{text!r}. Name a directory, and copy "
            f"the version to the object store from there."
        )
    base = expanded(text)
    if base.is_file():
        raise ConfigError(
            f"{base} is a file; a directory is needed to publish a model in. Move the file away, "
            "or name another directory."
        )
    return written(base)


def version_number(name: str) -> int | None:
    """The version that a directory of this name is, or None; a server passes over what does not fit
    into 64 bits.
    """
    number = int(name) if _NUMBER.fullmatch(name) else None
    return number if number is not None and number <= MAX_VERSION else None


def numbers(base: Path) -> list[int]:
    """The numbers that are in use, also by a file or by a link, smallest first."""
    with storage_errors("list", base):
        found = [version_number(name) for name in os.listdir(base)] if base.is_dir() else []
    return sorted(number for number in found if number is not None)


def versions_in(base: Path) -> dict[int, Path]:
    """The directories of the versions in a base directory, smallest number first; other names are
    not looked at.
    """
    with storage_errors("list", base):
        found = {
            number: path
            for path in base.iterdir()
            if (number := version_number(path.name)) is not None and path.is_dir()
        }
    return dict(sorted(found.items()))


def list_versions(base: Path) -> list[Version]:
    """All versions in a base directory, oldest first."""
    return [
        Version(number, path, _record(path))
        for number, path in (versions_in(base) if base.is_dir() else {}).items()
    ]


def _record(path: Path) -> ExportRecord | None:
    try:
        return None if path.is_symlink() else read_export(path)
    except (ExportError, FileNotFoundError):
        return None


def missing_files(version: Version) -> list[str]:
    """What of the files in a version's record is not there, or has another size, in words; empty
    where there is no record.
    """
    found = []
    for entry in version.record.files if version.record is not None else ():
        path = version.path / entry.name
        size = path.stat().st_size if path.is_file() else None
        if size != entry.size_bytes:
            found.append(
                f"{entry.name} is "
                f"{'missing' if size is None else f'{size:,} bytes long, and was {entry.size_bytes:,}'}"
            )
    return found


def next_number(base: Path, version: int | None, now: float) -> int:
    """The number for a new version: the time in seconds, and larger than all that are there.

    Args:
        base: the base directory.
        version: the number that was asked for, or None.
        now: seconds since the epoch.

    Raises:
        ConfigError: where the number that was asked for is not larger, or is none.
    """
    newest = max(numbers(base), default=0)
    if version is None and newest < MAX_VERSION:
        return max(int(now), newest + 1)
    if newest == MAX_VERSION:
        raise ConfigError(
            f"{base} has the version {newest}, and there is none after it. Remove that one, or "
            "name another directory."
        )
    if (
        isinstance(version, bool)
        or not isinstance(version, int)
        or not newest < version <= MAX_VERSION
    ):
        raise ConfigError(
            f"version is a whole number, larger than the newest in {base} ({newest}), because "
            "servers take the largest. "
            f"Received: version={version!r}."
        )
    return version


@contextmanager
def writing(files: FileSystem, base: Path, number: int) -> Iterator[Path]:
    """A directory that no server looks at, for a version that is to be written; what is left of it
    at the end of the block is removed.

    Args:
        files: how to change the disk.
        base: the base directory.
        number: the number that the version will have, or nearly.
    """
    files.make_dir(base)
    with owner(files, base) as name:
        clean_up(files, base, name)
        directory = base / f".writing-{number}-{name}"
        try:
            files.make_dir(directory)
            yield directory
        finally:
            files.remove_tree(directory)


def sync(
    files: FileSystem, directory: Path, entry: Callable[[Path], FileEntry] = file_entry
) -> tuple[FileEntry, ...]:
    """Makes everything in a directory durable.

    Returns:
        Path from the directory, size and digest of each file.

    Raises:
        ExportError: where there is something else than files and directories.
        StorageError: where the disk refuses.
    """
    entries, directories = [], [directory]
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ExportError(
                f"{path} is no regular file, so {directory.name} could not be served from another "
                "place."
            )
        if path.is_dir():
            directories.append(path)
            continue
        files.sync_file(path)
        with storage_errors("read", path):
            entries.append(replace(entry(path), name=path.relative_to(directory).as_posix()))
    for path in reversed(directories):
        files.sync_dir(path)
    return tuple(entries)


def publish(
    files: FileSystem, directory: Path, record: ExportRecord, number: int | None, now: float
) -> Path:
    """Makes a version visible that was written, synced and proven.

    Args:
        files: how to change the disk.
        directory: where it was written; the base directory is its parent.
        record: what it says of itself.
        number: the number that was asked for, or None.
        now: seconds since the epoch.

    Returns:
        Its directory.

    Raises:
        ConfigError: where somebody has published a larger number meanwhile.
        StorageError: where the disk refuses.
    """
    base = directory.parent
    files.create(directory / EXPORT_RECORD, encode_export(record))
    # The entries of the directory must be durable before its name is.
    files.sync_dir(directory)
    target = base / str(next_number(base, number, now))
    files.rename(directory, target)  # PUBLISHED: a server sees a whole version or none
    files.sync_dir(base)
    return target


def superseded(versions: Sequence[Version], keep: int | None) -> list[Version]:
    """Which versions go: of those that ckptkit has made, all but the newest ones. Pure.

    Args:
        versions: all versions of a base directory.
        keep: how many stay, at least 1; None keeps all.
    """
    ours = sorted(
        (version for version in versions if version.record is not None),
        key=lambda version: version.number,
    )
    newest = max((version.number for version in versions), default=0)
    return (
        [version for version in ours[:-keep] if version.number != newest]
        if keep is not None
        else []
    )


def retain(files: FileSystem, base: Path, keep: int | None) -> list[Version]:
    """Takes older versions away, each by one rename first.

    Returns:
        What was taken away.

    Raises:
        StorageError: where the disk refuses.
    """
    going = superseded(list_versions(base), keep)
    if going:
        with owner(files, base) as name:
            for version in going:
                hidden = base / f".removing-{version.number}-{name}"
                files.rename(version.path, hidden)
                files.sync_dir(
                    base
                )  # were the deletions durable and the rename not, half a version would be visible
                files.remove_tree(hidden)
    return going
