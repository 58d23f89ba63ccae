"""The file `adopt.json`, in which `ckptkit adopt` writes with what the run begins."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import list_names
from ckptkit.run.events import SetAside
from ckptkit.run.journal_reader import read_journal
from ckptkit.storage.files import DISK, FileSystem, storage_errors
from ckptkit.storage.json_bytes import json_bytes

REQUEST_VERSION = 1
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class AdoptionRequest:
    """What the next start of a run takes over; see `ckptkit.Adopt`.

    Args:
        source: the absolute path of the source.
        epoch, step, strict: as in `Adopt`.
        format_version: the version of its format.
    """

    source: str
    epoch: int | None = None
    step: int | None = None
    strict: bool = True
    format_version: int = REQUEST_VERSION


def request_adoption(files: FileSystem, layout: RunLayout, request: AdoptionRequest) -> None:
    """Write the request into a run that has no checkpoint; the directory is made if necessary.

    Raises:
        ConfigError: If the run has checkpoints, or earlier lives.
        StorageError: If the disk refuses.
    """
    begun = list_names(layout) or _has_set_aside(layout)
    if begun:
        raise ConfigError(
            f"{layout.root} is a run that has begun already. Expected a new directory: a run "
            "adopts only before its first checkpoint."
        )
    files.make_dir(layout.root)
    files.replace_content(
        layout.adoption, msgspec.json.format(json_bytes(request), indent=1) + b"\n"
    )
    files.sync_dir(layout.root)


def requested_adoption(layout: RunLayout, files: FileSystem = DISK) -> AdoptionRequest | None:
    """Return the request, or None. After a fresh start it counts no longer.

    Raises:
        CorruptCheckpointError: If the file is damaged or from a later version.
        StorageError: If it cannot be read.
    """
    with storage_errors("read", layout.adoption):
        try:
            data = files.read_bounded(layout.adoption, _MAX_BYTES)
        except FileNotFoundError:
            return None
    try:
        request = msgspec.json.decode(data, type=AdoptionRequest)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"{layout.adoption} cannot be read: {error}. Write it anew with ckptkit adopt.",
            "unreadable",
            layout.adoption.name,
        ) from error
    if request.format_version > REQUEST_VERSION:
        raise CorruptCheckpointError(
            f"{layout.adoption} has format version {request.format_version}; this ckptkit reads up "
            f"to {REQUEST_VERSION}. Install a newer one."
        )
    return None if _has_set_aside(layout) else request


def _has_set_aside(layout: RunLayout) -> bool:
    return any(isinstance(event, SetAside) for event in read_journal(layout).events)
