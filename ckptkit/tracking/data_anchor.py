"""Keeps anchors in memory: states of an iterator from which checkpoints count batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ckptkit.run.manifest import FileEntry
from ckptkit.tracking.leaves import Tensors


@dataclass(eq=False)
class DataAnchor:
    """The state of an iterator at one moment.

    Args:
        batches: the number of batches that were read then.
        tensors: the state; None once a checkpoint has it, because it takes much memory.
        is_needed: whether batches cannot be counted from the start of the iterator instead, because
            only the state has its order.
        is_lost: whether its files have disappeared, so that the next snapshot takes another one.
        name: the name of its files in checkpoints, without suffixes; empty before they are written.
        parts: the names of its tensors.
        files: the sizes and digests of its files, in the newest checkpoint that has them.
    """

    batches: int
    tensors: Tensors | None
    is_needed: bool = False
    is_lost: bool = False
    name: str = ""
    parts: tuple[str, ...] = ()
    files: tuple[FileEntry, ...] = ()

    def note_files(self, name: str, files: Iterable[FileEntry]) -> None:
        """Note that a checkpoint has the anchor's files, and free the memory of its state.

        Args:
            name: see above.
            files: see above.
        """
        self.name, self.files, self.tensors = name, tuple(files), None


@dataclass(frozen=True)
class AnchorUse:
    """The use of an anchor by one snapshot.

    Args:
        anchor: the anchor; None if batches are counted from the start of the iterator.
        key: the key of the iterator's leaf, such as `fit/data/0`, and the number of the pass.
        since: the number of batches from the anchor to the snapshot.
        order: see `AnchorEntry`.
    """

    anchor: DataAnchor | None
    key: str
    since: int
    order: str = ""
