"""From a snapshot to a committed checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ckptkit.errors import StorageError
from ckptkit.log import logger, size
from ckptkit.policies import KeepPolicy
from ckptkit.save import tensorfile
from ckptkit.save.snapshot import Snapshot
from ckptkit.store.catalog import list_checkpoints
from ckptkit.store.commit import begin_writing, commit
from ckptkit.store.events import Saved as SavedEvent
from ckptkit.store.events import SaveFailed
from ckptkit.store.files import FileSystem
from ckptkit.store.journal import Journal
from ckptkit.store.layout import RunLayout
from ckptkit.store.manifest import Manifest
from ckptkit.store.retention import retain
from ckptkit.store.state_file import write_state_file
from ckptkit.store.tidying import tidying


@dataclass(frozen=True)
class Target:
    """Where checkpoints of one attempt go.

    Args:
        files: how to change the disk.
        layout: the run.
        journal: of this attempt.
        keep: which checkpoints stay.
    """

    files: FileSystem
    layout: RunLayout
    journal: Journal
    keep: KeepPolicy


class Writer(Protocol):
    """Runs the writing of snapshots, now or later, in the order in which they come."""

    def submit(self, job: Callable[[], None]) -> None:
        """Takes a job; raises what went wrong in an earlier one."""
        ...

    def wait(self, timeout_secs: float | None = None) -> None:
        """Returns when everything submitted is done; raises what went wrong."""
        ...

    def close(self) -> None:
        """Finishes what was submitted, and takes no more."""
        ...


class ForegroundWriter:
    """Writes at once, on the calling thread."""

    def submit(self, job: Callable[[], None]) -> None:
        job()

    def wait(self, timeout_secs: float | None = None) -> None:
        return None

    def close(self) -> None:
        return None


def write_checkpoint(target: Target, snapshot: Snapshot, manifest: Manifest, snapshot_secs: float) -> Manifest:
    """Writes, commits, tells, and then takes away what the keep policy gave up.

    Args:
        target: where to.
        snapshot: the state.
        manifest: all but the list of files.
        snapshot_secs: how long training stood still for the snapshot.

    Returns:
        The manifest as it was written.

    Raises:
        StorageError: where the disk refuses; earlier checkpoints are untouched.
    """
    began = time.monotonic()
    try:
        directory = begin_writing(target.files, target.layout, manifest.attempt)
        tensorfile.write(snapshot, directory, manifest.step)
        manifest = commit(target.files, target.layout, manifest)
    except Exception as error:
        _tell_and_clean(target, manifest, error)
        raise
    write_secs = time.monotonic() - began
    target.journal.record(SavedEvent(
        checkpoint=str(manifest.name), step=manifest.step, epoch=manifest.epoch, batch=manifest.batch, trigger=manifest.trigger,
        size_bytes=manifest.size_bytes, snapshot_secs=snapshot_secs, write_secs=write_secs, metrics=manifest.metrics,
        final=manifest.final))
    logger.info("saved %s: %s, %s in %.2f s", manifest.position, manifest.trigger, size(manifest.size_bytes), write_secs)
    with tidying(target.journal, "apply the keep policy"):
        retain(target.files, target.layout, target.journal, target.keep)
    with tidying(target.journal, "write TensorFlow's state file"):
        write_state_file(target.files, target.layout, [c.name for c in list_checkpoints(target.layout)])
    return manifest


def _tell_and_clean(target: Target, manifest: Manifest, error: Exception) -> None:
    """What can still be done after a failed save; where that fails as well, the first error is the one to raise."""
    try:
        target.files.remove_tree(target.layout.writing(manifest.attempt))
        target.journal.record(SaveFailed(step=manifest.step, error=type(error).__name__, message=str(error)))
    except StorageError as second:
        logger.warning("after a failed save: %s", second)
