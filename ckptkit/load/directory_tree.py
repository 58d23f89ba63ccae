"""Searches a directory tree for runs, models and weights of every format.

It reads names and a few bytes of each file, and imports no TensorFlow. A run, a SavedModel, and a
directory of SavedModel versions each count as one entry, whatever they contain. Hidden directories
and links to directories are skipped. Skipping links also rules out endless loops.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ckptkit.exports.version_directories import version_number
from ckptkit.load.formats import SAVED_MODEL, Format, starts_as, step_of
from ckptkit.run.stored_run import is_run
from ckptkit.storage.files import storage_errors

_KERAS_ENDINGS = (".keras", ".h5", ".hdf5")
_INDEX = ".index"
_SHARD = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})")
_INDEX_END = (0xDB4775248B80FB57).to_bytes(8, "little")
"""The last bytes of a LevelDB table, which is the format of TensorFlow's index file.

See tensorflow/core/lib/io/format.h, kTableMagicNumber.
"""


@dataclass(frozen=True)
class TreeEntry:
    """A run, model or checkpoint in a directory tree.

    Args:
        format: the recognised format.
        path: the run, file or directory; for a TensorFlow checkpoint its prefix.
        size_bytes: total size of its files; 0 for a run, which reports its own size.
        modified_at: time of the last change, in seconds since the epoch; 0 for a run.
        step: the number at the end of a TensorFlow checkpoint's name, or None.
        versions: version numbers of a directory of SavedModels, smallest first.
        problem: damage that is visible in names, sizes and first bytes, or None.
    """

    format: Format
    path: Path
    size_bytes: int = 0
    modified_at: float = 0.0
    step: int | None = None
    versions: tuple[int, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """A directory or file that cannot be read.

    Args:
        path: the directory or file.
        reason: the message of the operating system.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class PassedBy:
    """A link to a directory, which the search does not follow.

    Args:
        path: the link.
    """

    path: Path


def walk(root: Path) -> Iterator[TreeEntry | Unreadable | PassedBy | None]:
    """Walk through a directory and everything below it, in the order of names.

    Args:
        root: the directory to start from; the walk follows it if it is itself a link.

    Yields:
        Each entry, and None after each directory, so that a caller can show progress.
    """
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        below: list[Path] = []
        try:
            yield from _directory(directory, below)
        except FileNotFoundError:
            pass  # deleted since it was listed
        except OSError as error:
            yield Unreadable(directory, error.strerror or str(error))
        waiting += reversed(below)
        yield None


def prefixes_in(directory: Path) -> dict[Path, int | None]:
    """Return the TensorFlow checkpoints of one directory, including damaged ones.

    Returns:
        The number at the end of each name (or None), by prefix, smallest first.

    Raises:
        StorageError: If the directory cannot be read.
    """
    with storage_errors("list", directory), os.scandir(directory) as scan:
        entries = {entry.name: entry for entry in scan}
    found = {}
    for name, shards in _prefixes(entries).items():
        with suppress(OSError):  # opening the checkpoint reports the error to the user
            if _checkpoint(directory, name, shards, entries) is None:
                continue
        found[directory / name] = step_of(name)
    return dict(
        sorted(found.items(), key=lambda item: (-1 if item[1] is None else item[1], item[0]))
    )


def disk_usage(directory: Path) -> int:
    """Return the total size in bytes of all files below a directory.

    Does not follow links. Files that cannot be read count as 0.
    """
    total, waiting = 0, [os.fspath(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_size
                    except OSError:
                        continue
        except OSError:
            continue
    return total


def _directory(directory: Path, below: list[Path]) -> Iterator[TreeEntry | Unreadable | PassedBy]:
    """Yield the entries of one directory, and add its subdirectories to `below`."""
    with os.scandir(directory) as scan:
        entries = {entry.name: entry for entry in sorted(scan, key=lambda entry: entry.name)}
    if ("journal" in entries or "checkpoints" in entries) and is_run(directory):
        yield TreeEntry(Format.RUN, directory)
        return
    if SAVED_MODEL in entries and os.path.exists(entries[SAVED_MODEL].path):
        yield _saved_model(directory)
        return
    folders = [entry for entry in entries.values() if entry.is_dir(follow_symlinks=False)]
    versions = {
        number: Path(entry)
        for entry in folders
        if (number := version_number(entry.name)) is not None
        and os.path.exists(os.path.join(entry.path, SAVED_MODEL))
    }
    if versions:
        yield _versions(directory, versions)
    yield from _files(directory, entries)
    for name, entry in entries.items():
        if name.startswith("."):
            continue
        if entry.is_symlink():
            # False too if the target cannot be examined: no permission, or a link to itself.
            if os.path.isdir(entry.path):
                yield PassedBy(Path(entry))
        elif entry.is_dir(follow_symlinks=False) and Path(entry) not in versions.values():
            below.append(Path(entry))


def _saved_model(directory: Path) -> TreeEntry:
    return TreeEntry(
        Format.SAVED_MODEL,
        directory,
        disk_usage(directory),
        (directory / SAVED_MODEL).stat().st_mtime,
    )


def _versions(base: Path, versions: Mapping[int, Path]) -> TreeEntry:
    newest = versions[max(versions)]
    return TreeEntry(
        Format.VERSIONS,
        base,
        sum(disk_usage(path) for path in versions.values()),
        (newest / SAVED_MODEL).stat().st_mtime,
        versions=tuple(sorted(versions)),
    )


def _files(
    directory: Path, entries: Mapping[str, os.DirEntry[str]]
) -> Iterator[TreeEntry | Unreadable]:
    """Yield the files of one directory that are models or weights."""
    prefixes = _prefixes(entries)
    for name in sorted({*prefixes, *(name for name in entries if name.endswith(_KERAS_ENDINGS))}):
        try:
            found: TreeEntry | Unreadable | None
            found = (
                _checkpoint(directory, name, prefixes[name], entries)
                if name in prefixes
                else _model_file(entries[name])
            )
        except FileNotFoundError:
            continue
        except OSError as error:
            found = Unreadable(directory / name, error.strerror or str(error))
        if found is not None:
            yield found


def _prefixes(entries: Collection[str]) -> dict[str, list[str]]:
    """Return the possible checkpoint prefixes among names, each with its data files."""
    found: dict[str, list[str]] = {
        name.removesuffix(_INDEX): []
        for name in entries
        if name.endswith(_INDEX) and name != _INDEX
    }
    for name in entries:
        if match := _SHARD.fullmatch(name):
            found.setdefault(match[1], []).append(name)
    return found


def _checkpoint(
    directory: Path, prefix: str, shards: list[str], entries: Mapping[str, os.DirEntry[str]]
) -> TreeEntry | None:
    """Return a TensorFlow checkpoint, or None for another program's `.index` file.

    A broken link does not count as a file.
    """
    entries = {
        name: entries[name]
        for name in (prefix + _INDEX, *shards)
        if name in entries and os.path.exists(entries[name].path)
    }
    shards = [name for name in shards if name in entries]
    index = entries.get(prefix + _INDEX)
    is_index = index is not None and index.is_file() and _ends_as_index(index)
    if not is_index and not shards:
        return None
    stats = [entry.stat() for entry in entries.values()]
    return TreeEntry(
        Format.CHECKPOINT,
        directory / prefix,
        sum(each.st_size for each in stats),
        max(each.st_mtime for each in stats),
        step=step_of(prefix),
        problem=_problem(prefix, is_index, index is not None, shards),
    )


def _problem(prefix: str, is_index: bool, has_index: bool, shards: list[str]) -> str | None:
    if not has_index:
        return f"{prefix}{_INDEX} is missing"
    if not is_index:
        return f"{prefix}{_INDEX} does not end like an index file"
    totals = {match[3] for name in shards if (match := _SHARD.fullmatch(name))}
    if not totals:
        return f"{prefix}.data-* is missing"
    if len(totals) == 1 and len(shards) != int(min(totals)):
        return f"{int(min(totals)) - len(shards)} of {int(min(totals))} data files are missing"
    return None


def _ends_as_index(entry: os.DirEntry[str]) -> bool:
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    with open(os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(_INDEX_END)))
        return file.read(len(_INDEX_END)) == _INDEX_END


def _model_file(entry: os.DirEntry[str]) -> TreeEntry | None:
    found = entry.stat()
    if not stat.S_ISREG(found.st_mode):
        return None
    with open(os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        start = file.read(8)
    format = starts_as(start)
    problem = (
        None
        if format is not None
        else f"begins with {start!r}, so it is neither a zip archive nor an HDF5 file"
    )
    guessed = Format.KERAS if entry.name.endswith(".keras") else Format.HDF5
    return TreeEntry(format or guessed, Path(entry), found.st_size, found.st_mtime, problem=problem)
