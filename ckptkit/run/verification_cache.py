"""Remembers which checkpoints of a run are intact.

The owner of a run keeps a `CheckpointIndex` while it trains. A save then costs one listing of names
and a few `stat` calls, however many checkpoints are kept. Without it, each save would read every
manifest and every TensorFlow index file again: with 2,000 checkpoints that took seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock

from ckptkit.errors import CheckpointError, CorruptCheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.policies import Candidate
from ckptkit.run.checkpoint_catalog import (
    Checkpoint,
    candidate_of,
    list_names,
    without_damaged_anchors,
)
from ckptkit.run.data_anchor_entry import anchor_file
from ckptkit.run.manifest import Manifest
from ckptkit.run.verify import verify

RECHECKS = 16
"""The number of known checkpoints that each save compares with the disk again.

Those that were not checked for longest come first. A run with at most so many checkpoints is
checked completely at each save. In a larger run, a file that someone deleted from a checkpoint is
noticed some saves later.
"""

Signature = tuple[tuple[str, int, int], ...]
"""Name, size and modification time (ns) of each file in a checkpoint's directory."""


@dataclass(frozen=True)
class Finding:
    """The result of examining one checkpoint.

    Args:
        candidate: the facts that a keep policy gets; None if the checkpoint is damaged.
        damage: what is wrong with it, in words; empty if it is whole.
        refused: whether the system refused to read it. That proves no damage and may be temporary,
            so the result is not remembered.
    """

    candidate: Candidate | None
    damage: str = ""
    refused: bool = False


@dataclass(frozen=True)
class _Entry:
    checkpoint: Checkpoint
    finding: Finding
    signature: Signature | None
    in_full: bool


class CheckpointIndex:
    """The checkpoints of a run, and whether each is intact.

    Names are listed again each time, so a checkpoint that another program deletes or moves is
    noticed at once. Only verification results are remembered. Nothing is read before the first use,
    so a run with thousands of checkpoints opens without delay.

    Args:
        layout: the run.
        attempt: the attempt of this process, or None if it writes no checkpoints. Its checkpoints
            are never read in full, because their digests were computed from the written data.
        verify: compares a checkpoint's files with its manifest.
    """

    def __init__(
        self,
        layout: RunLayout,
        attempt: int | None = None,
        verify: Callable[..., object] = verify,
    ) -> None:
        self.layout = layout
        self._compare = verify
        self._attempt = attempt
        # In the order of the last check, so that the first ones are checked next.
        self._entries: dict[CheckpointName, _Entry] = {}
        # Locked, because an emergency save runs on another thread.
        self._lock = Lock()

    def names(self) -> list[CheckpointName]:
        """Return the names of the run's checkpoints, oldest first.

        Raises:
            StorageError: If the directory cannot be listed.
        """
        return list_names(self.layout)

    def add(self, manifest: Manifest) -> None:
        """Add a checkpoint that this process has just committed, without reading it.

        Args:
            manifest: the manifest as it was written.
        """
        checkpoint = Checkpoint(manifest.name, self.layout.checkpoint(manifest.name))
        finding, signature = Finding(candidate_of(manifest)), _signature(checkpoint.path)
        with self._lock:
            self._entries.pop(manifest.name, None)  # a second save at this step replaced the first
            self._entries[manifest.name] = _Entry(checkpoint, finding, signature, in_full=True)

    def known_bytes(self, name: CheckpointName) -> int | None:
        """Return the size of a checkpoint's files, if it is known to be intact; nothing is read.

        Anchors do not count: most checkpoints share those of others.
        """
        with self._lock:
            entry = self._entries.get(name)
        if entry is None or entry.signature is None or entry.finding.damage:
            return None
        return sum(size for name, size, _ in entry.signature if not anchor_file(name))

    def examine(
        self, progress: Callable[[int], None] = lambda _: None
    ) -> list[tuple[Checkpoint, Finding]]:
        """Verify all checkpoints, but read only those that are new or have changed.

        The newest intact one is verified in full, unless this process wrote it, because older
        checkpoints may be deleted because of it. The others are verified quickly.

        Args:
            progress: called with the number of bytes of each chunk that was read.

        Returns:
            Each checkpoint with its finding, oldest first.

        Raises:
            StorageError: If the directory cannot be listed.
        """
        with self._lock:
            names = self.names()
            for gone in self._entries.keys() - set(names):
                del self._entries[gone]
            self._forget_changed(list(islice(self._entries, RECHECKS)))
            found = []
            newest_is_whole = False
            for name in reversed(names):
                in_full = not newest_is_whole and name.attempt != self._attempt
                entry = self._entries.get(name)
                if entry is None or (in_full and not entry.in_full and not entry.finding.damage):
                    entry = self._verify(name, in_full, progress)
                newest_is_whole = newest_is_whole or not entry.finding.damage
                found.append((entry.checkpoint, entry.finding))
            return found[::-1]

    def forget_changed(self, names: Iterable[CheckpointName]) -> bool:
        """Forget the named checkpoints whose files have changed since they were verified.

        Returns:
            Whether any has changed. If so, a decision about them must be repeated.
        """
        with self._lock:
            return self._forget_changed(names)

    def _forget_changed(self, names: Iterable[CheckpointName]) -> bool:
        has_changed = False
        for name in names:
            entry = self._entries.pop(name, None)
            if entry is None:
                continue
            if entry.signature == _signature(entry.checkpoint.path):
                self._entries[name] = entry  # at the end: checked last
            else:
                has_changed = True
        return has_changed

    def _verify(
        self, name: CheckpointName, in_full: bool, progress: Callable[[int], None]
    ) -> _Entry:
        path = self.layout.checkpoint(name)
        # Before the read, so that a file that changes during the read differs at the next check.
        signature = _signature(path)
        finding = self._finding(Checkpoint(name, path), in_full, progress)
        # A new object, because the verified one keeps its manifest with thousands of tensors.
        entry = _Entry(Checkpoint(name, path), finding, signature, in_full)
        self._entries.pop(name, None)
        if not finding.refused:
            self._entries[name] = entry
        return entry

    def _finding(
        self, checkpoint: Checkpoint, in_full: bool, progress: Callable[[int], None]
    ) -> Finding:
        def compare(each: Checkpoint) -> None:
            if in_full:
                self._compare(each, progress=progress)
            else:
                self._compare(each, quick=True)

        try:
            without_damaged_anchors(checkpoint, compare)
            return Finding(checkpoint.candidate)
        except CheckpointError as error:
            return Finding(None, str(error), refused=not isinstance(error, CorruptCheckpointError))


def _signature(directory: Path) -> Signature | None:
    """Return values that change with any file of a checkpoint; None if `stat` fails."""
    try:
        with os.scandir(directory) as entries:
            files = [(each.name, each.stat(follow_symlinks=False)) for each in entries]
    except OSError:
        return None
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in files))
