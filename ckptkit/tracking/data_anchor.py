"""Anchors in memory: a state of an iterator, from which several checkpoints count batches."""

from __future__ import annotations

from dataclasses import dataclass

from ckptkit.run.anchor_entry import AnchorEntry
from ckptkit.run.manifest import FileEntry
from ckptkit.tracking.leaves import Tensors


@dataclass(eq=False)
class DataAnchor:
    """The state of an iterator at one moment.

    Args:
        batches: the number of batches that were read then.
        tensors: the state; None once a checkpoint has it, because it takes much memory.
        name: the name of its files in checkpoints, without suffixes; empty before they are written.
        parts: the names of its tensors.
        files: the sizes and digests of its files, in the newest checkpoint that has them.
    """

    batches: int
    tensors: Tensors | None
    name: str = ""
    parts: tuple[str, ...] = ()
    files: tuple[FileEntry, ...] = ()

    @classmethod
    def stored(cls, entry: AnchorEntry, files: tuple[FileEntry, ...]) -> DataAnchor:
        """Return the anchor that a checkpoint has.

        Args:
            entry: its description in the manifest.
            files: all files of the checkpoint.
        """
        own = tuple(file for file in files if entry.owns(file.name))
        return cls(entry.batches, None, entry.name, entry.parts, own)


@dataclass(frozen=True)
class AnchorUse:
    """The use of an anchor by one snapshot.

    Args:
        anchor: the anchor.
        key: the key of the iterator's leaf, such as `fit/data/0`, and the number of the pass.
        since: the number of batches from the anchor to the snapshot.
    """

    anchor: DataAnchor
    key: str
    since: int
