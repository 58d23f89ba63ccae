"""Groups what a save of one attempt needs to write a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptkit.policies import KeepPolicy
from ckptkit.run.commit import Permit
from ckptkit.run.journal import Journal
from ckptkit.run.save_lines import SaveLines
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.storage.files import FileSystem


@dataclass(frozen=True)
class SaveContext:
    """The objects that a save of one attempt needs to write a checkpoint.

    Args:
        files: how to change the disk.
        index: the index of the run's checkpoints.
        journal: the journal of the attempt.
        keep: decides which checkpoints stay.
        permit: allows commits.
        lines: chooses the saves that are worth a line of the log.
    """

    files: FileSystem
    index: CheckpointIndex
    journal: Journal
    keep: KeepPolicy
    permit: Permit = field(default_factory=Permit)
    lines: SaveLines = field(default_factory=SaveLines)
