"""Writes anchors into a checkpoint's directory, or links those that an earlier checkpoint has."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle import tensor_bundle
from ckptkit.errors import StorageError
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.data_anchor_entry import AnchorEntry
from ckptkit.run.manifest import FileEntry, Manifest
from ckptkit.run.save_target import SaveContext
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.tracking.data_anchor import AnchorUse, DataAnchor
from ckptkit.tracking.leaves import Tensors


def add_anchors(
    target: SaveContext, uses: Sequence[AnchorUse], directory: Path, manifest: Manifest
) -> tuple[AnchorEntry, ...]:
    """Give the directory of a save the files of the anchors that it counts from.

    Args:
        target: where and how to write.
        uses: the anchors.
        directory: the directory into which the save is written.
        manifest: the manifest of the save.

    Returns:
        The descriptions of the anchors for the manifest.

    Raises:
        StorageError: If the disk refuses, or the files of an anchor have disappeared.
    """
    return tuple(
        _add(target, use, directory, f"data-{manifest.step}-{manifest.attempt}-{number}")
        for number, use in enumerate(uses)
    )


def _add(target: SaveContext, use: AnchorUse, directory: Path, new_name: str) -> AnchorEntry:
    anchor = use.anchor
    if anchor is None:
        return _entry_from_start(use, use.since)
    name = anchor.name
    if anchor.tensors is not None:
        name = new_name
        tensors = {_key(use.key, part): tensor for part, tensor in anchor.tensors.items()}
        tensor_bundle.write_bundle(tensors, directory, name)
    elif not _share(target, anchor, directory):
        anchor.is_lost = True
        if anchor.is_needed:
            raise StorageError(
                errno.ENOENT,
                f"The files {name}.* have disappeared from every checkpoint of the run, and the "
                "position in the data cannot be saved without them. Did another program delete "
                "checkpoints? The next save stores it anew.",
            )
        # A resume then draws from the start of the iterator, which gives the same batches.
        return _entry_from_start(use, anchor.batches + use.since)
    return AnchorEntry(
        name=name,
        key=use.key,
        parts=anchor.parts,
        batches=anchor.batches,
        since=use.since,
        order=use.order,
        needed=anchor.is_needed,
    )


def _entry_from_start(use: AnchorUse, drawn: int) -> AnchorEntry:
    return AnchorEntry(
        name="", key=use.key, parts=(), batches=0, since=drawn, order=use.order, needed=False
    )


def _share(target: SaveContext, anchor: DataAnchor, directory: Path) -> bool:
    """Link the files of an anchor from the newest checkpoint that has them."""
    names = [file.name for file in anchor.files]
    layout = target.index.layout
    for checkpoint in reversed(target.index.names()):
        source = layout.checkpoint(checkpoint)
        if any(target.files.status(source / name) is None for name in names):
            continue
        try:
            for name in names:
                target.files.share(source / name, directory / name)
            return True
        except StorageError as error:
            # Another program has deleted that checkpoint at this moment.
            if error.errno != errno.ENOENT:
                raise
            for name in names:
                target.files.remove_file(directory / name)
    return False


def known_entry(uses: Iterable[AnchorUse], name: str) -> FileEntry | None:
    """Return the known size and digest of a shared file, which is not read again; else None.

    Args:
        uses: the anchors of the save.
        name: the name of the file.
    """
    anchors = [use.anchor for use in uses if use.anchor is not None]
    return next((file for each in anchors for file in each.files if file.name == name), None)


def note_written(uses: Iterable[AnchorUse], written: Manifest) -> None:
    """Free the memory of anchors that a checkpoint has now.

    Args:
        uses: the anchors of the save.
        written: the manifest of the committed checkpoint.
    """
    entries = {entry.key: entry for entry in written.anchors}
    for use in uses:
        if use.anchor is not None and use.anchor.tensors is not None:
            _note_files(use.anchor, entries[use.key], written)


def stored_anchors(manifest: Manifest) -> dict[str, DataAnchor]:
    """Return the anchors that a checkpoint has, by the keys of their iterators.

    Args:
        manifest: the manifest of the checkpoint.
    """
    found = {}
    for entry in manifest.anchors:
        if entry.name:
            anchor = DataAnchor(entry.batches, None, entry.needed, parts=entry.parts)
            _note_files(anchor, entry, manifest)
            found[entry.key] = anchor
    return found


def _note_files(anchor: DataAnchor, entry: AnchorEntry, manifest: Manifest) -> None:
    anchor.note_files(entry.name, (file for file in manifest.files if entry.owns(file.name)))


def read_anchor(checkpoint: Checkpoint, entry: AnchorEntry) -> Tensors:
    """Read an anchor of a checkpoint.

    Returns:
        Its tensors, by the names of its parts.

    Raises:
        CorruptCheckpointError: If a file is damaged.
        StorageError: If reading failed for another reason.
    """
    wanted = [
        TensorEntry(
            key=_key(entry.key, part),
            kind="trackable",
            path=entry.key,
            shape=None,
            dtype=tf.variant.name,
        )
        for part in entry.parts
    ]
    values = tensor_bundle.read_tensors(checkpoint.path / entry.name, wanted)
    return dict(zip(entry.parts, values, strict=True))


def _key(key: str, part: str) -> str:
    return f"{key}/{part}" if part else key
