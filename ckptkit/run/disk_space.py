"""Frees disk space for the next checkpoint of a run, if it would not fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from ckptkit.errors import CheckpointError
from ckptkit.layout import MANIFEST
from ckptkit.log import logger, size
from ckptkit.policies import Candidate, KeepPolicy
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.checkpoint_index import CheckpointIndex
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.commit import Permit
from ckptkit.run.events import SpaceShort
from ckptkit.run.journal import Journal, best_effort
from ckptkit.run.retention import remove, review
from ckptkit.storage.files import FileSystem


def expected_bytes(index: CheckpointIndex, state_bytes: int) -> int:
    """Return the expected size of the next checkpoint in bytes.

    That is the size of the newest checkpoint, or of the values in memory for the first one.
    """
    for name in reversed(index.names()):
        if (known := index.known_bytes(name)) is not None:
            return known
        checkpoint = Checkpoint(name, index.layout.checkpoint(name))
        try:
            return checkpoint.head.size_bytes + (checkpoint.path / MANIFEST).stat().st_size
        except (CheckpointError, OSError):
            continue
    return state_bytes


@dataclass(frozen=True)
class SaveTarget:
    """The objects that a save of one attempt needs to write a checkpoint.

    Args:
        files: how to change the disk.
        index: the index of the run's checkpoints.
        journal: the journal of the attempt.
        keep: decides which checkpoints stay.
        permit: allows commits.
    """

    files: FileSystem
    index: CheckpointIndex
    journal: Journal
    keep: KeepPolicy
    permit: Permit = field(default_factory=Permit)

    def make_room(self, coming: Candidate, state_bytes: int, *, refused: bool = False) -> None:
        """Remove leftovers and old checkpoints, if the next checkpoint would not fit.

        Leftovers are removed first, then checkpoints that the keep policy drops, oldest first. If
        that fails or is not enough, the save is tried nevertheless, because the size is an
        estimate.

        Args:
            coming: the checkpoint that is about to be written.
            state_bytes: the size of its values in memory, in bytes.
            refused: whether the disk has refused the save as full. A quota may refuse it although
                the file system reports free space, so the reported space is ignored then.
        """
        with best_effort(self.journal, "make room for the next checkpoint"):
            needed = expected_bytes(self.index, state_bytes)
            free = self._free()
            if refused or _too_little(free, needed):
                removed = self._reclaim(coming, needed, refused=refused)
                self._report(coming, needed, free, removed)

    def _free(self) -> int | None:
        return self.files.free_bytes(self.index.layout.checkpoints)

    def _reclaim(self, coming: Candidate, needed: int, *, refused: bool) -> list[str]:
        removed = clean_up(
            self.files,
            self.index.layout,
            own=self.journal.attempt,
            attempt=partial(best_effort, self.journal),
        )
        for judged in review(self.index, self.keep, coming=coming):
            if not refused and not _too_little(self._free(), needed):
                break
            if not judged.stays:
                with best_effort(self.journal, f"remove {judged.checkpoint.name}"):
                    if remove(self.files, self.index.layout, self.journal, judged):
                        removed.append(f"removed {judged.checkpoint.name} ({judged.reason})")
        return removed

    def _report(self, coming: Candidate, needed: int, free: int | None, removed: list[str]) -> None:
        done = "; ".join(removed) or "nothing can be removed"
        log = logger.info if removed else logger.warning
        known = "the free space is unknown" if free is None else f"{size(free)} were free"
        log(
            "little space for step %d: it needs about %s, and %s: %s",
            coming.step,
            size(needed),
            known,
            done,
        )
        self.journal.record(
            SpaceShort(step=coming.step, needed_bytes=needed, free_bytes=free, removed=removed)
        )


def _too_little(free: int | None, needed: int) -> bool:
    return free is not None and free < needed
