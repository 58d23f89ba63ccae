"""Pins: checkpoints that somebody wants to keep, whatever a keep policy says. One small file each,
so that pinning needs no lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ckptkit.errors import CheckpointNotFoundError, StorageError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.storage.files import DISK, FileSystem, storage_errors

PIN_VERSION = 1
MAX_PIN_BYTES = 64 * 1024
MAX_NOTE_CHARACTERS = 1000
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """When and why a checkpoint was pinned.

    Args:
        pinned_at: when, in seconds since the epoch; 0 where the file does not tell.
        note: why, in the words of the one who did it.
        format_version: of the file.
    """

    pinned_at: float = 0.0
    note: str = ""
    format_version: int = PIN_VERSION


def pinned(layout: RunLayout, files: FileSystem = DISK) -> frozenset[CheckpointName]:
    """The names that are pinned. A pin counts by the name of its file: what is in it may be
    damaged, and it may be that no such checkpoint is left.

    Raises:
        StorageError: where the directory cannot be read; what is pinned is then not known, and
            nothing may be taken away.
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
    """The pins, oldest checkpoint first.

    Raises:
        StorageError: where the directory cannot be read.
    """
    return {
        name: _read(layout, name, files)
        for name in sorted(pinned(layout, files), key=lambda name: (name.attempt, name.step))
    }


def _read(layout: RunLayout, name: CheckpointName, files: FileSystem) -> Pin:
    """A pin whose file says nothing that could be used is one without a note."""
    try:
        return msgspec.json.decode(files.read_bounded(layout.pin(name), MAX_PIN_BYTES), type=Pin)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        return Pin()


def pin(files: FileSystem, layout: RunLayout, name: CheckpointName, new: Pin) -> None:
    """Pins a checkpoint; one that is pinned already gets the new note.

    Raises:
        CheckpointNotFoundError: where there is no such checkpoint, also where training has taken it
            away at that moment.
        StorageError: where the disk refuses.
    """
    _check_there(files, layout, name)
    was_pinned = name in pinned(layout, files)
    path = layout.pin(name)
    files.make_dir(layout.pins)
    files.sync_dir(layout.root)
    files.remove_file(
        path.with_name(path.name + ".tmp")
    )  # what a link of that name leads to is not ours to overwrite
    files.replace_content(path, msgspec.json.format(msgspec.json.encode(new), indent=1) + b"\n")
    files.sync_dir(layout.pins)
    # A removal looks for pins after its rename, and this looks for the checkpoint after its pin:
    # one of the two sees the other.
    try:
        _check_there(files, layout, name)
    except CheckpointNotFoundError:
        if not was_pinned:
            unpin(files, layout, name)
        raise


def _check_there(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    if not files.is_dir(layout.checkpoint(name)):
        raise CheckpointNotFoundError(
            f"{layout.root} has no checkpoint {name}; it may have been taken away just now. Look "
            "for another one with "
            f"ckptkit list."
        )


def unpin(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    """Takes a pin away; where there is none, that is fine.

    Raises:
        StorageError: where the disk refuses.
    """
    if files.is_dir(layout.pins):
        if files.is_dir(layout.pin(name)):
            raise StorageError(
                f"{layout.pin(name)} is a directory, and a pin is a file. It keeps {name} from "
                "being taken away: move it away."
            )
        files.remove_file(layout.pin(name))
        files.sync_dir(layout.pins)
