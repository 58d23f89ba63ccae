"""Describes an anchor in a manifest: the state of an iterator from which batches are counted."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class AnchorEntry:
    """An anchor of a checkpoint: an earlier state of an iterator, in TensorFlow's format.

    Other checkpoints of the run may have the same files, as further names of the same bytes.
    Without files, batches are counted from the start of the iterator.

    Args:
        name: the name of its files in the checkpoint's directory, without suffixes; empty if there
            are none.
        key: the key of the iterator's leaf, such as `fit/data/0`.
        parts: the names of its tensors below that key.
        batches: the number of batches that were read when its state was taken.
        since: the number of batches from there to the checkpoint's position.
        order: a digest of the pipeline and its seeds. With another one, as many batches may be
            others.
        needed: whether only its state has the order of the data. If not, as many batches can be
            counted from the start of the iterator, without the files.
    """

    name: str
    key: str
    parts: tuple[str, ...]
    batches: int
    since: int
    order: str = ""
    needed: bool = True

    @property
    def drawn(self) -> int:
        """The number of batches that the run has drawn from the iterator."""
        return self.batches + self.since

    def owns(self, file: str) -> bool:
        """Return whether a file of the checkpoint belongs to this anchor.

        Args:
            file: the name of the file.
        """
        return bool(self.name) and file.startswith((f"{self.name}.index", f"{self.name}.data-"))

    def without_files(self) -> AnchorEntry:
        """Return the same position, counted from the start of the iterator."""
        return replace(self, name="", parts=(), batches=0, since=self.drawn, needed=False)


_FILE = re.compile(r"data-(?P<taken>\d+-\d+)-\d+\.(index|data-\d{5}-of-\d{5})")


def anchor_file(name: str) -> str | None:
    """Return `<step>-<attempt>` of the checkpoint that took an anchor; None for other files.

    Args:
        name: the name of a file of a checkpoint.
    """
    found = _FILE.fullmatch(name)
    return found["taken"] if found else None
