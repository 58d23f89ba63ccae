"""Quarantine: moves damaged checkpoints to `quarantine/`, each with a file that says why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.printable_text import sentence
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.events import PassedOver
from ckptkit.run.journal import Journal, best_effort
from ckptkit.run.set_aside import set_aside
from ckptkit.storage.files import DISK, FileSystem
from ckptkit.storage.json_bytes import json_bytes

REASON_VERSION = 1
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a checkpoint is in quarantine.

    Args:
        checkpoint: its name.
        damage: the kind of damage, as in `CorruptCheckpointError`.
        file: the damaged file; empty if that is unknown.
        message: the damage in words.
        attempt: the number of the attempt that found it.
        format_version: the version of its format.
    """

    checkpoint: str
    damage: str
    file: str
    message: str
    attempt: int
    format_version: int = REASON_VERSION


def quarantine(
    files: FileSystem,
    layout: RunLayout,
    journal: Journal,
    checkpoint: Checkpoint,
    error: CorruptCheckpointError,
) -> Path | None:
    """Move a checkpoint that cannot be used to `quarantine/`, and report it.

    If it cannot be moved, it stays in its place, and the caller ignores it, so that an older
    checkpoint can be used.

    Args:
        files: how to change the disk.
        layout: the run.
        journal: the journal of this attempt.
        checkpoint: the damaged checkpoint.
        error: what is wrong with it.

    Returns:
        Its new path, or None if it could not be moved.
    """
    try:
        moved = set_aside(files, checkpoint.path, layout.quarantine)
    except (
        StorageError
    ) as refused:  # another user's directory, or the lower layer of an overlay file system
        name = str(checkpoint.name)
        journal.record(PassedOver(checkpoint=name, reason=str(error), moved_to=""))
        logger.warning(
            "checkpoint %s is not used: %s It could not be moved to quarantine/, so it stays in "
            "checkpoints/: %s",
            name,
            sentence(error),
            refused,
        )
        return None
    reason = Reason(
        checkpoint=str(checkpoint.name),
        damage=error.damage,
        file=error.file,
        message=str(error),
        attempt=journal.attempt,
    )
    with best_effort(journal, f"write the reason why {checkpoint.name} is in quarantine"):
        # Next to it and not inside: the moved entry may be a file or a link, and stays unchanged.
        files.replace_content(
            moved.with_name(moved.name + _SUFFIX),
            msgspec.json.format(json_bytes(reason), indent=1) + b"\n",
        )
        files.sync_dir(layout.quarantine)
    journal.record(
        PassedOver(
            checkpoint=str(checkpoint.name),
            reason=str(error),
            moved_to=str(moved.relative_to(layout.root)),
        )
    )
    logger.warning(
        "checkpoint %s is not used, and was moved to %s: %s", checkpoint.name, moved, error
    )
    return moved


def quarantined(layout: RunLayout, files: FileSystem = DISK) -> list[Path]:
    """Return the paths in `quarantine/`, except the files with the reasons."""
    if not files.is_dir(layout.quarantine):
        return []
    paths = [layout.quarantine / name for name in files.list_dir(layout.quarantine)]
    return [path for path in paths if path.suffix not in (_SUFFIX, ".tmp")]
