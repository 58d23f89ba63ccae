"""Writes, publishes and removes the numbered versions in a base directory.

TensorFlow Serving may load the largest number in the directory at any moment. So a version is
written and checked under a name that is not a number, and then renamed. `docs/format.md` has the
order and its reasons. Imports no TensorFlow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ckptkit.errors import ConfigError, ExportError, StorageError
from ckptkit.exports.export_record import EXPORT_RECORD, ExportRecord, encode_export, read_export
from ckptkit.exports.unfinished_versions import clean_up, owner
from ckptkit.layout import expanded, url_of
from ckptkit.log import logger
from ckptkit.run.audit_path_redirect import path_to_write
from ckptkit.run.manifest import FileEntry
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import FileSystem, storage_errors
from ckptkit.storage.symlinks import leads_out_of_its_run

_NUMBER = re.compile(r"[0-9]+")
MAX_VERSION = 2**63 - 1
"""The largest version number, because TensorFlow Serving stores it in 64 bits."""


@dataclass(frozen=True)
class Version:
    """One version in a base directory.

    Args:
        number: its number.
        path: its directory.
        record: its record; None if ckptkit did not make it, or the record cannot be read.
    """

    number: int
    path: Path
    record: ExportRecord | None


def check_base(directory: object) -> Path:
    """Check that versions can be published in a directory, and return its path.

    Raises:
        ConfigError: If it is not a path, is an object store's URL, or is a file.
    """
    text = os.fspath(directory) if isinstance(directory, str | os.PathLike) else None
    if (
        not isinstance(directory, str | os.PathLike)
        or not isinstance(text, str)
        or not text.strip()
        or "\0" in text
    ):
        raise ConfigError(
            f"A model is published in a directory, which is a path. Received: {directory!r}."
        )
    if (url := url_of(directory)) is not None:
        raise ConfigError(
            "A model is published in a directory on a mounted file system. Received the URL "
            f"{url!r}. Name a directory, and copy the version to the object store from there."
        )
    base = expanded(text)
    if base.is_file():
        raise ConfigError(
            f"{base} is a file. Expected a directory to publish a model in. Move the file away, or "
            "name another directory."
        )
    return path_to_write(base)


def version_number(name: str) -> int | None:
    """Return the version number in a directory's name, or None.

    A number that does not fit into 64 bits is None, because servers ignore it.
    """
    number = int(name) if _NUMBER.fullmatch(name) else None
    return number if number is not None and number <= MAX_VERSION else None


def numbers(base: Path) -> list[int]:
    """Return the numbers in use, smallest first; also those of files and links."""
    with storage_errors("list", base):
        found = [version_number(name) for name in os.listdir(base)] if base.is_dir() else []
    return sorted(number for number in found if number is not None)


def versions_in(base: Path) -> dict[int, Path]:
    """Return the version directories in a base directory by number, smallest first."""
    with storage_errors("list", base):
        found = {
            number: path
            for path in base.iterdir()
            if (number := version_number(path.name)) is not None and path.is_dir()
        }
    return dict(sorted(found.items()))


def list_versions(base: Path) -> list[Version]:
    """Return all versions in a base directory, oldest first."""
    return [
        Version(number, path, _record(path))
        for number, path in (versions_in(base) if base.is_dir() else {}).items()
    ]


def _record(path: Path) -> ExportRecord | None:
    try:
        return None if path.is_symlink() else read_export(path)
    # A version whose record cannot be read counts as another program's, and is never removed.
    except (ExportError, FileNotFoundError, StorageError):
        return None


def missing_files(version: Version) -> list[str]:
    """Return a sentence for each recorded file that is missing or has the wrong size.

    The list is empty if the version has no record.
    """
    found = []
    for entry in version.record.files if version.record is not None else ():
        path = version.path / entry.name
        size = path.stat().st_size if path.is_file() else None
        if size != entry.size_bytes:
            changed = f"{size or 0:,} bytes long instead of {entry.size_bytes:,}"
            found.append(f"{entry.name} is {'missing' if size is None else changed}")
    return found


def next_number(base: Path, version: int | None, now: float) -> int:
    """Return the number for a new version: the time in seconds, and larger than all others.

    Args:
        base: the base directory.
        version: the requested number, or None.
        now: seconds since the epoch.

    Raises:
        ConfigError: If the requested number is not larger than all others, or no number is left.
    """
    newest = max(numbers(base), default=0)
    if version is None and newest < MAX_VERSION:
        return max(int(now), newest + 1)
    if newest == MAX_VERSION:
        raise ConfigError(
            f"{base} has the version {newest}, which is the largest possible number. Remove that "
            f"version, or name another directory."
        )
    if (
        isinstance(version, bool)
        or not isinstance(version, int)
        or not newest < version <= MAX_VERSION
    ):
        raise ConfigError(
            f"version is a whole number, larger than the newest in {base} ({newest}), because "
            f"servers take the largest. Received: version={version!r}."
        )
    return version


@contextmanager
def writing(files: FileSystem, base: Path, number: int) -> Iterator[Path]:
    """Yield a directory in which to write a new version, under a name that servers ignore.

    At the end of the block, the directory is removed unless it was published.

    Args:
        files: how to change the disk.
        base: the base directory.
        number: the number that the version will have, unless another one takes it first.
    """
    files.make_dir(base)
    with owner(files, base) as name:
        # A link may lead out of the run, so unfinished versions there may belong to another run.
        if not leads_out_of_its_run(base):
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
    """Make everything in a directory durable.

    Returns:
        The path from the directory, the size and the digest of each file.

    Raises:
        ExportError: If it contains anything but regular files and directories.
        StorageError: If the disk refuses.
    """
    entries, directories = [], [directory]
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ExportError(
                f"{path} is not a regular file, so a copy of {directory.name} could not be served "
                "elsewhere. Replace it by a copy of the file that it stands for."
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
    """Publish a version that was written, synced and checked.

    Args:
        files: how to change the disk.
        directory: where it was written; the base directory is its parent.
        record: its record.
        number: the requested number, or None.
        now: seconds since the epoch.

    Returns:
        Its directory.

    Raises:
        ConfigError: If a larger number was published meanwhile.
        StorageError: If the disk refuses.
    """
    base = directory.parent
    files.create(directory / EXPORT_RECORD, encode_export(record))
    # The entries of the directory must be durable before its new name is.
    files.sync_dir(directory)
    target = base / str(next_number(base, number, now))
    files.rename(directory, target)  # PUBLISHED: from here on a server sees the whole version
    files.sync_dir(base)
    return target


def superseded(versions: Sequence[Version], keep: int | None) -> list[Version]:
    """Return the versions to remove: all that ckptkit made, except the newest ones. Pure.

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
    """Remove older versions; each is first renamed, and then deleted.

    Nothing is removed through a symbolic link out of a run, because those versions may belong to
    another run.

    Returns:
        The removed versions.

    Raises:
        StorageError: If the disk refuses.
    """
    going = superseded(list_versions(base), keep)
    if going and leads_out_of_its_run(base):
        logger.info(
            "%s is a symbolic link out of the run, so older versions there are not removed "
            "(keep=%s); name the directory itself with ExportSpec(directory=...)",
            base,
            keep,
        )
        return []
    if going:
        with owner(files, base) as name:
            for version in going:
                hidden = base / f".removing-{version.number}-{name}"
                files.rename(version.path, hidden)
                # If a power loss undid the rename and kept deletions, half a version would be
                # visible.
                files.sync_dir(base)
                files.remove_tree(hidden)
    return going
