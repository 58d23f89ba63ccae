"""Where the checkpoints of an attempt are written, and the permit to commit them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from ckptkit.layout import RunLayout
from ckptkit.policies import KeepPolicy
from ckptkit.run.checkpoint_index import CheckpointIndex
from ckptkit.run.disk_space import Room
from ckptkit.run.journal import Journal
from ckptkit.storage.files import FileSystem

# How long a rename may delay the close of a run that is abandoned: a dead server never answers.
_RENAME_SECS = 2.0


class AbandonedError(Exception):
    """Raised in a save whose run was closed while it was being written."""


class Permit:
    """A lock around the commit of a checkpoint; once withdrawn, nothing more is committed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.withdrawn = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if self.withdrawn:
            self._lock.release()
            raise AbandonedError

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def withdraw(self) -> None:
        """Forbid all further commits.

        Waits for a rename that is under way, for at most two seconds.
        """
        acquired = self._lock.acquire(timeout=_RENAME_SECS)
        # Set even without the lock. A rename that hangs may still succeed later; the checkpoint is
        # then complete, and only its cleaning up is skipped.
        self.withdrawn = True
        if acquired:
            self._lock.release()


@dataclass(frozen=True)
class Target:
    """Where the checkpoints of one attempt are written, and how.

    Args:
        files: changes the disk.
        index: what is known of the run's checkpoints.
        journal: of this attempt.
        keep: decides which checkpoints stay.
        permit: allows commits.
    """

    files: FileSystem
    index: CheckpointIndex
    journal: Journal
    keep: KeepPolicy
    permit: Permit = field(default_factory=Permit)

    @property
    def layout(self) -> RunLayout:
        """The paths of the run."""
        return self.index.layout

    @property
    def room(self) -> Room:
        """Return what makes room on the disk for a checkpoint."""
        return Room(self.files, self.index, self.journal, self.keep)
