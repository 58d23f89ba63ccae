"""Pins: small files by which a user keeps checkpoints, whatever the keep policy says.

Each pin is a separate file, so pinning needs no lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ckptkit.errors import CheckpointNotFoundError, StorageError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.storage.files import DISK, FileSystem, storage_errors
from ckptkit.storage.json_bytes import json_bytes

PIN_VERSION = 1
MAX_PIN_BYTES = 64 * 1024
MAX_NOTE_CHARACTERS = 1000
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The content of a pin: when and why a checkpoint was pinned.

    Args:
        pinned_at: when, in seconds since the epoch; 0 if the file does not say.
        note: the user's reason.
        format_version: the version of its format.
    """

    pinned_at: float = 0.0
    note: str = ""
    format_version: int = PIN_VERSION


def pinned(layout: RunLayout, files: FileSystem = DISK) -> frozenset[CheckpointName]:
    """Return the names of all pinned checkpoints.

    Only the name of a pin's file counts. Its content may be damaged, and its checkpoint may no
    longer exist.

    Raises:
        StorageError: If the directory cannot be read. Then no checkpoint may be removed.
    """
    with storage_errors("list", layout.pins):
        try:
            names = files.list_dir(layout.pins)
        except FileNotFoundError:
            return frozenset()
    parsed = [
        CheckpointName.parse(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX)
    ]
    return frozenset(name for name in parsed if name is not None)


def read_pins(layout: RunLayout, files: FileSystem = DISK) -> Mapping[CheckpointName, Pin]:
    """Return the pins, oldest checkpoint first.

    Raises:
        StorageError: If the directory cannot be read.
    """
    return {
        name: _read(layout, name, files)
        for name in sorted(pinned(layout, files), key=lambda name: (name.attempt, name.step))
    }


def _read(layout: RunLayout, name: CheckpointName, files: FileSystem) -> Pin:
    """Read a pin; if its file is damaged, return a pin without a note."""
    try:
        return msgspec.json.decode(files.read_bounded(layout.pin(name), MAX_PIN_BYTES), type=Pin)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        return Pin()


def pin(files: FileSystem, layout: RunLayout, name: CheckpointName, new: Pin) -> None:
    """Pin a checkpoint, or replace the note of a pinned one.

    Raises:
        CheckpointNotFoundError: If there is no such checkpoint, or training has just removed it.
        StorageError: If the disk refuses.
    """
    _check_exists(files, layout, name)
    was_pinned = name in pinned(layout, files)
    path = layout.pin(name)
    files.make_dir(layout.pins)
    files.sync_dir(layout.root)
    # If this name is a link, its target may belong to something else and must not be overwritten.
    files.remove_file(path.with_name(path.name + ".tmp"))
    files.replace_content(path, msgspec.json.format(json_bytes(new), indent=1) + b"\n")
    files.sync_dir(layout.pins)
    # A removal checks for pins after its rename, and this checks for the checkpoint after its pin,
    # so one of the two notices the other.
    try:
        _check_exists(files, layout, name)
    except CheckpointNotFoundError:
        if not was_pinned:
            unpin(files, layout, name)
        raise


def _check_exists(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    if not files.is_dir(layout.checkpoint(name)):
        raise CheckpointNotFoundError(
            f"{layout.root} has no checkpoint {name}; training may have just removed it. List the "
            f"checkpoints with ckptkit list."
        )


def unpin(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    """Remove a pin; do nothing if there is none.

    Raises:
        StorageError: If the disk refuses.
    """
    if files.is_dir(layout.pins):
        if files.is_dir(layout.pin(name)):
            raise StorageError(
                f"{layout.pin(name)} is a directory instead of a file. It prevents the removal of "
                f"{name}: move it away."
            )
        files.remove_file(layout.pin(name))
        files.sync_dir(layout.pins)
