"""Writes anchors into a checkpoint's directory, or links those that an earlier checkpoint has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from ckptkit.run.anchor_entry import AnchorEntry
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.disk_space import Target
from ckptkit.run.manifest import FileEntry, Manifest, TensorEntry
from ckptkit.tracking.data_anchor import AnchorUse, DataAnchor
from ckptkit.tracking.leaves import Tensors
from ckptkit.writing import tensor_file


def add_anchors(
    target: Target, uses: Sequence[AnchorUse], directory: Path, manifest: Manifest
) -> tuple[AnchorEntry, ...]:
    """Give the directory of a save the files of the anchors that it counts from.

    An anchor whose files have disappeared is left out. Then a resume counts from the start of the
    iterator, which takes longer and gives the same batches.

    Args:
        target: where and how to write.
        uses: the anchors.
        directory: the directory into which the save is written.
        manifest: the manifest of the save.

    Returns:
        The descriptions of the anchors for the manifest.

    Raises:
        StorageError: If the disk refuses.
    """
    entries = []
    for number, use in enumerate(uses):
        anchor = use.anchor
        name = anchor.name
        if anchor.tensors is not None:
            name = f"data-{manifest.step}-{manifest.attempt}-{number}"
            tensors = {_key(use.key, part): tensor for part, tensor in anchor.tensors.items()}
            tensor_file.write_bundle(tensors, directory, name)
        elif not _share(target, anchor, directory):
            continue
        entries.append(
            AnchorEntry(
                name=name,
                key=use.key,
                parts=anchor.parts,
                batches=anchor.batches,
                since=use.since,
            )
        )
    return tuple(entries)


def _share(target: Target, anchor: DataAnchor, directory: Path) -> bool:
    """Link the files of an anchor from the newest checkpoint that has them."""
    names = [file.name for file in anchor.files]
    layout = target.index.layout
    for checkpoint in reversed(target.index.names()):
        source = layout.checkpoint(checkpoint)
        if all(target.files.status(source / name) is not None for name in names):
            for name in names:
                target.files.share(source / name, directory / name)
            return True
    return False


def known_entry(uses: Iterable[AnchorUse], name: str) -> FileEntry | None:
    """Return the size and digest of a shared file, so that it is not read again, or None.

    Args:
        uses: the anchors of the save.
        name: the name of the file.
    """
    return next((file for use in uses for file in use.anchor.files if file.name == name), None)


def note_written(uses: Iterable[AnchorUse], written: Manifest) -> None:
    """Free the memory of anchors that a checkpoint has now.

    Args:
        uses: the anchors of the save.
        written: the manifest of the committed checkpoint.
    """
    entries = {entry.key: entry for entry in written.anchors}
    for use in uses:
        entry = entries.get(use.key)
        if entry is not None and use.anchor.tensors is not None:
            stored = DataAnchor.stored(entry, written.files)
            use.anchor.name, use.anchor.files = stored.name, stored.files
            use.anchor.tensors = None


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
    values = tensor_file.read_tensors(checkpoint.path / entry.name, wanted)
    return dict(zip(entry.parts, values, strict=True))


def _key(key: str, part: str) -> str:
    return f"{key}/{part}" if part else key
