"""Checks that a place on a store is empty or belongs to this run, before anything is changed."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ckptkit.clock import Clock
from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.mirror.create_once import create_once, refuses_second_create
from ckptkit.mirror.objects import Objects
from ckptkit.mirror.store_layout import PROBE, RUN, is_of_a_run
from ckptkit.mirror.store_records import StoredIdentity, decode_record, encode_record
from ckptkit.storage.files import FileSystem

_MOST_BYTES = 64 * 1024


def local_identity(layout: RunLayout, files: FileSystem) -> StoredIdentity | None:
    """Return what a directory knows of its mirror, or None if it never had one.

    Raises:
        ConfigError: If the file cannot be read.
    """
    try:
        data = files.read_bounded(layout.mirror_record, _MOST_BYTES)
        return decode_record(data, StoredIdentity, layout.mirror_record.name)
    except FileNotFoundError:
        return None
    except (OSError, CorruptCheckpointError) as error:
        raise ConfigError(
            f"{layout.mirror_record} says which run on the object store belongs to this "
            f"directory, and cannot be read: {error} If the place in mirror=... is right, delete "
            "that file and move the checkpoints of this directory away."
        ) from error


def check_identity(
    objects: Objects,
    place: str,
    keys: Collection[str],
    local: str | None,
    checkpoints: Collection[CheckpointName],
) -> str | None:
    """Check that a place is empty or has the run of a directory.

    Args:
        objects: the store.
        place: the URL, for messages.
        keys: all keys below it.
        local: the id that the directory has, or None.
        checkpoints: the checkpoints in the directory.

    Returns:
        The id of the run on the store, or None if the place is empty.

    Raises:
        ConfigError: If something else is there.
        StorageError: If the store does not answer.
    """
    if RUN not in keys:
        others = [key for key in keys if not key.startswith(PROBE)]
        if others:
            what = "objects of a run, but no run.json" if is_of_a_run(others[0]) else "other data"
            raise ConfigError(
                f"Expected an empty place for the run at {place}. Received {what}, such as "
                f"{others[0]!r}. Nothing was written. Name another prefix."
            )
        return None
    try:
        stored = decode_record(objects.read(RUN), StoredIdentity, RUN).run
    except CorruptCheckpointError as error:
        raise ConfigError(
            f"{place} has a run.json that ckptkit cannot read: {error} Nothing was written. Name "
            "another prefix."
        ) from error
    # Without a checkpoint, a directory has lost the race to be the first one in another place.
    if local is not None and local != stored and checkpoints:
        raise ConfigError(
            f"{place} has another run than this directory: their ids are {stored} and {local}. "
            "Nothing was written. Name another prefix, or another directory."
        )
    if local is None and checkpoints:
        raise ConfigError(
            f"{place} has a run already, and this directory has checkpoints that were never "
            "copied there. Whether they belong together is not known. Nothing was written. Name "
            "another prefix, or an empty directory."
        )
    return stored


def probe(objects: Objects, place: str, *, versioned: bool) -> None:
    """Check that a store can tell which of two machines was first, and that deletion frees space.

    Args:
        objects: the store.
        place: the URL, for messages.
        versioned: whether the bucket may keep versions.

    Raises:
        ConfigError: If it cannot, or the bucket keeps versions.
        StorageError: If it does not answer, or refuses.
    """
    if not refuses_second_create(objects, PROBE + uuid.uuid4().hex):
        raise ConfigError(
            f"The object store at {place} replaced an object although it was asked to create a new "
            "one only (If-None-Match). Two machines could then train one run. Use a store that "
            "supports conditional writes: S3, GCS, Azure, MinIO, Ceph and R2 do."
        )
    if objects.keeps_versions and not versioned:
        raise ConfigError(
            f"The bucket of {place} keeps versions of what is deleted or replaced, so deleted "
            "checkpoints would take space for ever. Use a bucket without versioning; or set a "
            "lifecycle rule that deletes old versions, and pass "
            "mirror=ckptkit.Mirror(url, versioned=True)."
        )


def settle_identity(
    objects: Objects,
    layout: RunLayout,
    files: FileSystem,
    clock: Clock,
    *,
    stored: str | None,
    local: str | None,
    number: int,
) -> None:
    """Give the directory and the place on the store the same id.

    Args:
        objects: the store.
        layout: the run.
        files: how to change the disk.
        clock: the source of time.
        stored: the id of the run on the store, or None.
        local: the id that the directory has, or None.
        number: the number of this attempt. Earlier ones were made before there was a mirror.

    Raises:
        ConfigError: If another run has taken the place meanwhile.
        StorageError: If the store does not answer, or the disk refuses.
    """
    run = stored or local or uuid.uuid4().hex
    data = encode_record(StoredIdentity(run=run))
    if local is None:
        # First here: a directory that is killed in between finds its own id on the store.
        known = StoredIdentity(run=run, claim=number - 1)
        _write(files, layout.mirror_record, encode_record(known))
    if stored is None and not create_once(objects, RUN, data, clock):
        found = decode_record(objects.read(RUN), StoredIdentity, RUN).run
        if found != run:
            raise ConfigError(
                f"Another run has just taken this place on the object store; its id is {found}, "
                f"and this one's is {run}. Name another prefix."
            )


def check_not_trained_elsewhere(
    layout: RunLayout,
    place: str,
    known: StoredIdentity | None,
    highest: int,
    checkpoints: Collection[CheckpointName],
) -> None:
    """Check that a directory was not trained without its mirror while another machine had the run.

    Attempts of both would have the same numbers, and their checkpoints the same names.

    Args:
        layout: the run.
        place: the URL, for messages.
        known: what the directory knows of its mirror.
        highest: the highest claim on the store.
        checkpoints: the checkpoints in the directory.

    Raises:
        ConfigError: If it was.
    """
    if known is None or highest <= known.claim:
        return
    alone = sorted(name for name in checkpoints if name.attempt > known.claim)
    if alone:
        raise ConfigError(
            f"The run has two lives. {layout.root} was trained without mirror=, and has "
            f"{', '.join(map(str, alone))}; meanwhile another machine has opened the run at "
            f"{place}. Nothing was changed. To continue the one on the object store, name an empty "
            f"directory. To continue the one in this directory, delete {layout.mirror_record} and "
            "name another prefix."
        )


def note_claim(layout: RunLayout, files: FileSystem, number: int) -> None:
    """Note in the directory which claim on the store its owner has taken.

    Raises:
        StorageError: If the disk refuses.
    """
    known = local_identity(layout, files)
    assert known is not None  # `settle_identity` has written it
    _write(files, layout.mirror_record, encode_record(replace(known, claim=number)))


def _write(files: FileSystem, path: Path, data: bytes) -> None:
    files.replace_content(path, data)
    files.sync_dir(path.parent)
