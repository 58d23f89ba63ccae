"""Frees disk space for the next checkpoint of a run, if it would not fit."""

from __future__ import annotations

from functools import partial

from ckptkit.errors import CheckpointError
from ckptkit.layout import MANIFEST
from ckptkit.log import logger, size
from ckptkit.policies import Candidate
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.data_anchor_entry import anchor_file
from ckptkit.run.events import SpaceShort
from ckptkit.run.journal import best_effort
from ckptkit.run.retention import remove, review
from ckptkit.run.save_target import SaveContext
from ckptkit.run.verification_cache import CheckpointIndex


def expected_bytes(index: CheckpointIndex, state_bytes: int) -> int:
    """Return the expected size of the next checkpoint in bytes, without anchors.

    That is the size of the newest checkpoint, or of the values in memory for the first one.
    """
    for name in reversed(index.names()):
        if (known := index.known_bytes(name)) is not None:
            return known
        checkpoint = Checkpoint(name, index.layout.checkpoint(name))
        try:
            files = [file for file in checkpoint.head.files if not anchor_file(file.name)]
            manifest_bytes = (checkpoint.path / MANIFEST).stat().st_size
            return sum(file.size_bytes for file in files) + manifest_bytes
        except (CheckpointError, OSError):
            continue
    return state_bytes


def _anchor_bytes(index: CheckpointIndex) -> int:
    """Return the size of the largest anchor of the newest checkpoint that has one, or 0."""
    for name in reversed(index.names()):
        try:
            head = Checkpoint(name, index.layout.checkpoint(name)).head
        except CheckpointError:
            continue
        if found := [file.size_bytes for file in head.files if anchor_file(file.name)]:
            return max(found)
    return 0


def make_room(
    target: SaveContext,
    coming: Candidate,
    state_bytes: int,
    *,
    new_anchors: int = 0,
    shared_bytes: int = 0,
    refused: bool = False,
) -> None:
    """Remove leftovers and old checkpoints, if the next checkpoint would not fit.

    Leftovers are removed first, then checkpoints that the keep policy drops, oldest first. If
    that fails or is not enough, the save is tried nevertheless, because the size is an
    estimate.

    Args:
        target: the run to which the checkpoint is written.
        coming: the checkpoint that is about to be written.
        state_bytes: the size of its values in memory, in bytes.
        new_anchors: the number of anchors that it does not share with earlier ones. TensorFlow
            does not report how large they are in memory, so earlier ones count.
        shared_bytes: the size of values that an earlier checkpoint has on the disk, in bytes.
        refused: whether the disk has refused the save as full. A quota may refuse it although
            the file system reports free space, so the reported space is ignored then.
    """
    with best_effort(target.journal, "make room for the next checkpoint"):
        needed = max(expected_bytes(target.index, state_bytes) - shared_bytes, 0)
        if new_anchors:
            needed += new_anchors * _anchor_bytes(target.index)
        free = _free(target)
        if refused or _too_little(free, needed):
            removed = _reclaim(target, coming, needed, refused=refused)
            _report(target, coming, needed, free, removed)


def _free(target: SaveContext) -> int | None:
    return target.files.free_bytes(target.index.layout.checkpoints)


def _reclaim(target: SaveContext, coming: Candidate, needed: int, *, refused: bool) -> list[str]:
    removed = clean_up(
        target.files,
        target.index.layout,
        own=target.journal.attempt,
        attempt=partial(best_effort, target.journal),
    )
    for judged in review(target.index, target.keep, coming=coming):
        if not refused and not _too_little(_free(target), needed):
            break
        if not judged.stays:
            with best_effort(target.journal, f"remove {judged.checkpoint.name}"):
                if remove(target.files, target.index.layout, target.journal, judged):
                    removed.append(f"removed {judged.checkpoint.name} ({judged.reason})")
    return removed


def _report(
    target: SaveContext, coming: Candidate, needed: int, free: int | None, removed: list[str]
) -> None:
    done = "; ".join(removed) or "nothing can be removed"
    log = logger.info if removed else logger.warning
    known = "the free space is unknown" if free is None else f"{size(free)} were free"
    log(
        "little space for step %d, which needs about %s (%s): %s",
        coming.step,
        size(needed),
        known,
        done,
    )
    target.journal.record(
        SpaceShort(step=coming.step, needed_bytes=needed, free_bytes=free, removed=removed)
    )


def _too_little(free: int | None, needed: int) -> bool:
    return free is not None and free < needed
