"""Decides which tensors of a checkpoint share a data file. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ckptkit.run.manifest import FileEntry

MOST_GROUPS = 4
"""The largest number of data files with unchanged tensors in one checkpoint."""

WORTH_BYTES = 1024 * 1024
"""The size in bytes below which a group of unchanged tensors is not worth a file of its own."""

WORTH_PART = 0.02
"""The same as a part of the whole checkpoint."""


@dataclass(frozen=True)
class DataGroup:
    """Tensors that an earlier save has written into one data file.

    Args:
        keys: their keys.
        size_bytes: the size of their values in bytes.
        file: the data file in the newest checkpoint.
        index: TensorFlow's index of that file.
        modified_ns: when the file was last changed, in nanoseconds since the epoch.
        shares: how often it was shared since it was written.
    """

    keys: frozenset[str]
    size_bytes: int
    file: FileEntry
    index: bytes
    modified_ns: int = 0
    shares: int = 0


@dataclass(frozen=True)
class GroupPlan:
    """The data files of the next checkpoint.

    Args:
        shared: the groups whose files it shares with the newest checkpoint.
        new: the keys of settled tensors that it writes into a new file, for later checkpoints to
            share; empty for no such file.
        rest: the keys of all other tensors, which it writes into a further file.
    """

    shared: tuple[DataGroup, ...]
    new: frozenset[str]
    rest: frozenset[str]


def plan_groups(
    sizes: Mapping[str, int],
    unchanged: Set[str],
    settled: Set[str],
    groups: Sequence[DataGroup],
) -> GroupPlan:
    """Decide which tensors the next checkpoint shares, and which it writes.

    A file is shared only as a whole: if one of its tensors has changed, the others are written
    again.

    Args:
        sizes: the sizes of all tensors in bytes, by key.
        unchanged: the keys of tensors with the same content as in the newest checkpoint.
        settled: the keys of those that will probably stay the same.
        groups: the groups of the newest checkpoint.
    """
    shared = [group for group in groups if group.keys <= unchanged and group.keys <= sizes.keys()]
    taken = frozenset().union(*(group.keys for group in shared))
    new = frozenset(settled) & sizes.keys() - taken
    if _size(new, sizes) < max(WORTH_BYTES, WORTH_PART * _size(sizes.keys(), sizes)):
        new = frozenset()
    # With a file too many, the smallest ones are joined with the new one.
    shared.sort(key=lambda group: group.size_bytes, reverse=True)
    while new and len(shared) >= MOST_GROUPS:
        joined = shared.pop()
        new, taken = new | joined.keys, taken - joined.keys
    return GroupPlan(tuple(shared), new, frozenset(sizes.keys() - taken - new))


def _size(keys: Set[str], sizes: Mapping[str, int]) -> int:
    return sum(sizes[key] for key in keys)
