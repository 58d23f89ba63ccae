"""Rollback: moves newer checkpoints aside, so that the next start continues from an older one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.events import RolledBack
from ckptkit.run.journal import Journal
from ckptkit.run.set_aside import set_aside
from ckptkit.storage.files import FileSystem

_DIRECTORY = re.compile(r"rolled-back-\d{1,9}")


def is_rolled_back(name: str) -> bool:
    """Return whether a directory name in `aside/` is that of a rollback."""
    return _DIRECTORY.fullmatch(name) is not None


def newer_than(layout: RunLayout, target: Checkpoint) -> list[Checkpoint]:
    """Return the checkpoints that are newer than a given one, newest first.

    These are all checkpoints of later attempts, and those of the same attempt at later steps.

    Raises:
        StorageError: If the directory cannot be read.
    """
    order = (target.attempt, target.step)
    return [
        checkpoint
        for checkpoint in reversed(list_checkpoints(layout))
        if (checkpoint.attempt, checkpoint.step) > order
    ]


def roll_back(
    files: FileSystem,
    layout: RunLayout,
    journal: Journal,
    target: Checkpoint,
    newer: Sequence[Checkpoint],
) -> str:
    """Move newer checkpoints to `aside/`, newest first.

    If this is interrupted, the run is as it was at an earlier moment, because no checkpoint in the
    middle is missing. A second call completes it.

    Args:
        files: how to change the disk.
        layout: the run; the caller holds its lock.
        journal: the journal of this process.
        target: the checkpoint from which the run will continue.
        newer: the checkpoints that `newer_than` returned.

    Returns:
        The directory with the moved checkpoints, relative to the run.

    Raises:
        StorageError: If the disk refuses.
    """
    directory = layout.aside / f"rolled-back-{journal.attempt:06d}"
    files.make_dir(layout.aside)
    files.sync_dir(layout.root)
    for checkpoint in newer:
        set_aside(files, checkpoint.path, directory)
    moved_to = str(directory.relative_to(layout.root))
    # Recorded after the moves, so that it never records a move that was not made.
    journal.record_durable(
        RolledBack(
            checkpoint=str(target.name),
            step=target.step,
            set_aside=[str(each.name) for each in newer],
            moved_to=moved_to,
        )
    )
    logger.debug("rolled back to %s", target.name)
    return moved_to
