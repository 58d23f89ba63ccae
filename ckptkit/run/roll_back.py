"""Going back to an older checkpoint: newer ones are moved away, so that the next start goes on from
it. Nothing is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.catalog import Checkpoint, list_checkpoints
from ckptkit.run.commit import set_aside
from ckptkit.run.events import RolledBack
from ckptkit.run.journal import Journal
from ckptkit.storage.files import FileSystem

_DIRECTORY = re.compile(r"rolled-back-\d{1,9}")


def is_rolled_back(name: str) -> bool:
    """Whether a directory of this name in `aside/` holds checkpoints that a run was rolled back
    from.
    """
    return _DIRECTORY.fullmatch(name) is not None


def newer_than(layout: RunLayout, target: Checkpoint) -> list[Checkpoint]:
    """The checkpoints that count as newer, newest first: those of later attempts, and of the same
    one at a later step.

    Raises:
        StorageError: where the directory cannot be read.
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
    """Moves newer checkpoints away, the newest first: wherever this is interrupted, the newest that
    is left is a whole one, and a second call does the rest.

    Args:
        files: how to change the disk.
        layout: the run; the caller holds its lock.
        journal: of the process that does this.
        target: what the run is to go on from.
        newer: what `newer_than` has found.

    Returns:
        Where they are, relative to the run.

    Raises:
        StorageError: where the disk refuses.
    """
    directory = layout.aside / f"rolled-back-{journal.attempt:06d}"
    files.make_dir(layout.aside)
    files.sync_dir(layout.root)
    for checkpoint in newer:
        set_aside(files, checkpoint.path, directory)
    moved_to = str(directory.relative_to(layout.root))
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
