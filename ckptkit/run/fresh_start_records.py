"""Reads and writes the records of fresh starts: `fresh/<digest of the label>.json`.

A line of the journal has no digest, and a flipped bit in it would make a label unknown. So each
label also has a file of its own. Its name shows that the label has acted, even if its content is
damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import xxhash

from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.events import Event, SetAside
from ckptkit.run.manifest import seal, unseal
from ckptkit.storage.files import DISK, FileSystem, names_in
from ckptkit.storage.json_bytes import json_bytes

VERSION = 1
_MOST_BYTES = 1024 * 1024
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class FreshStartRecord:
    """The record of one fresh start.

    Args:
        label: the label that the user gave.
        attempt: the attempt in which the new life began.
        time: when, in seconds since the epoch.
        moved_to: where the earlier life is, relative to the run directory; empty if there was none.
        version: the version of its format.
    """

    label: str
    attempt: int
    time: float
    moved_to: str = ""
    version: int = VERSION


def record_name(label: str) -> str:
    """Return the name of the file that records a label."""
    text = label.encode("utf-8", "surrogatepass")
    return xxhash.xxh3_128_hexdigest(text) + _SUFFIX


def has_record(layout: RunLayout, label: str, files: FileSystem = DISK) -> bool:
    """Return whether `fresh/` has a record of a label.

    Raises:
        StorageError: If the directory cannot be listed.
    """
    return record_name(label) in names_in(files, layout.fresh)


def write_record(files: FileSystem, layout: RunLayout, record: FreshStartRecord) -> None:
    """Write the record of a label durably. One that exists is never changed.

    Raises:
        StorageError: If the disk refuses.
    """
    files.make_dir(layout.fresh)
    if not has_record(layout, record.label, files):
        data = seal(msgspec.json.format(json_bytes(record), indent=1))
        files.create(layout.fresh / record_name(record.label), data)
    files.sync_dir(layout.fresh)


def read_records(layout: RunLayout, files: FileSystem = DISK) -> list[SetAside]:
    """Return the fresh starts that are recorded, as events; a damaged record is left out.

    Raises:
        StorageError: If the directory cannot be listed.
    """
    names = [name for name in names_in(files, layout.fresh) if name.endswith(_SUFFIX)]
    records = [_read(layout, name, files) for name in names]
    return [
        SetAside(label=each.label, moved_to=each.moved_to, time=each.time, attempt=each.attempt)
        for each in records
        if each is not None
    ]


def mended_by_records(
    found: Sequence[Sequence[Event]], layout: RunLayout, files: FileSystem = DISK
) -> Sequence[Sequence[Event]]:
    """Return the events of all journals, with recorded fresh starts whose lines are missing there.

    A line that contradicts the record of its label is left out: records have a digest.

    Args:
        found: the events of each journal.
        layout: the run.
        files: how the disk is read.

    Raises:
        StorageError: If the records cannot be listed.
    """
    records = {record.label: record for record in read_records(layout, files)}
    if not records:
        return found

    def is_wrong(event: Event) -> bool:
        record = records.get(event.label) if isinstance(event, SetAside) else None
        return record is not None and record.attempt != event.attempt

    right = [[event for event in each if not is_wrong(event)] for each in found]
    told = {event.label for each in right for event in each if isinstance(event, SetAside)}
    lost = [record for label, record in records.items() if label not in told]
    return [*right, sorted(lost, key=lambda record: record.time)]


def _read(layout: RunLayout, name: str, files: FileSystem) -> FreshStartRecord | None:
    path = layout.fresh / name
    try:
        data = files.read_bounded(path, _MOST_BYTES)
        if not unseal(data):
            raise ValueError("its digest differs")
        record = msgspec.json.decode(data, type=FreshStartRecord)
        if record_name(record.label) != name:
            raise ValueError("it is the record of another label")
    except (OSError, ValueError, RecursionError) as error:
        # The label is known by the name of the file, and the journal has the rest.
        logger.debug("%s cannot be read: %s", path, error)
        return None
    return record
