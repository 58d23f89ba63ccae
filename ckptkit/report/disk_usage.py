"""Measures the disk usage of a run.

It also lists what was moved to `quarantine/` or `aside/`. It only reads, and does not follow links.
Files that training deletes during the walk count as gone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.report.checkpoint_rows import Moved, Stored
from ckptkit.report.checkpoint_table import FoundCheckpoint
from ckptkit.run.events import Event, PassedOver, RolledBack, SetAside
from ckptkit.run.manifest import Manifest, read_manifest
from ckptkit.run.quarantine import quarantined
from ckptkit.run.rollback import is_rolled_back
from ckptkit.storage.files import storage_errors

_DEEPEST = 50
"""The deepest nesting of directories that is read; ckptkit makes none deeper than an export."""


def stored_parts(layout: RunLayout) -> tuple[Stored, ...]:
    """Return the usage of each entry in the run directory, largest first.

    Raises:
        StorageError: If the run directory cannot be listed.
    """
    with storage_errors("list", layout.root):
        names = sorted(os.listdir(layout.root))
    seen: set[tuple[int, int]] = set()
    sizes = [(name, _measure(layout.root / name, seen)) for name in names]
    found = [
        Stored(name=name, files=files, size_bytes=size_bytes)
        for name, (files, size_bytes) in sizes
        if files
    ]
    return tuple(sorted(found, key=lambda each: (-each.size_bytes, each.name)))


def moved_parts(layout: RunLayout, events: Sequence[Event]) -> tuple[Moved, ...]:
    """Return everything that was moved away, with the reason."""
    reasons = {
        event.moved_to: event
        for event in events
        if isinstance(event, PassedOver | SetAside | RolledBack)
    }
    found = []
    seen: set[tuple[int, int]] = set()
    for path in _quarantined(layout):
        event = reasons.get(_inside(layout, path))
        why = event.reason if isinstance(event, PassedOver) else "no reason was recorded"
        found.append(
            Moved(
                path=_inside(layout, path),
                kind="quarantined",
                words=why,
                size_bytes=_measure(path, seen)[1],
            )
        )
    for path in _children(layout.aside):
        event = reasons.get(_inside(layout, path))
        if is_rolled_back(path.name):
            back = (
                f"newer than step {event.step}, to which the run was rolled back"
                if isinstance(event, RolledBack)
                else "rolled back"
            )
            found.append(
                Moved(
                    path=_inside(layout, path),
                    kind="rolled_back",
                    words=back,
                    size_bytes=_measure(path, seen)[1],
                )
            )
        else:
            life = (
                f"for the fresh start {event.label!r}"
                if isinstance(event, SetAside)
                else "of an earlier life"
            )
            found.append(
                Moved(
                    path=_inside(layout, path),
                    kind="life",
                    words=life,
                    size_bytes=_measure(path, seen)[1],
                )
            )
    return tuple(found)


def moved_checkpoints(layout: RunLayout) -> list[FoundCheckpoint]:
    """Return the moved checkpoints in `quarantine/` and `aside/` that still have their names."""
    found = [
        FoundCheckpoint(name=name, manifest=_manifest(path), place="quarantine")
        for path in _quarantined(layout)
        if (name := _name(path)) is not None
    ]
    for life in _children(layout.aside):
        found += [
            FoundCheckpoint(name=name, manifest=_manifest(path), place="aside")
            for path in _children(life)
            if (name := _name(path)) is not None
        ]
    return found


def _name(path: Path) -> CheckpointName | None:
    """Return the name that a checkpoint's directory had before it was moved.

    A second directory of one name got a number after a dot when it was moved.
    """
    return CheckpointName.parse(path.name.partition(".")[0])


def _manifest(path: Path) -> Manifest | None:
    try:
        return read_manifest(path)
    except (CorruptCheckpointError, StorageError):
        return None


def _inside(layout: RunLayout, path: Path) -> str:
    return str(path.relative_to(layout.root))


def _quarantined(layout: RunLayout) -> list[Path]:
    return [] if layout.quarantine.is_symlink() else quarantined(layout)


def _children(directory: Path) -> list[Path]:
    if directory.is_symlink() or not directory.is_dir():
        return []
    with storage_errors("list", directory):
        return sorted(directory.iterdir())


def _measure(path: Path, seen: set[tuple[int, int]]) -> tuple[int, int]:
    """Return the number of files at and below a path, and their size.

    Args:
        path: a file or directory.
        seen: the shared files that count already, by device and inode. Checkpoints may share the
            files of an anchor, and these bytes are on the disk once.
    """
    files = size_bytes = 0
    for entry_bytes in _sizes(path, 0, seen):
        files += 1
        size_bytes += entry_bytes
    return files, size_bytes


def _sizes(path: Path, depth: int, seen: set[tuple[int, int]]) -> Iterator[int]:
    inside: list[Path] = []
    try:
        with storage_errors("read", path):
            if path.is_symlink():
                return
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                inside = list(path.iterdir())
    except StorageError:
        if os.path.lexists(path):
            raise
        return  # training has deleted it since it was listed
    if stat.S_ISDIR(status.st_mode):
        for each in inside if depth < _DEEPEST else ():
            yield from _sizes(each, depth + 1, seen)
        return
    identity = (status.st_dev, status.st_ino)
    yield 0 if status.st_nlink > 1 and identity in seen else status.st_size
    seen.add(identity)
