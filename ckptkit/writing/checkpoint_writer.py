"""From a snapshot to a committed checkpoint: room on the disk, files, commit, keep policy."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from ckptkit.errors import StorageError
from ckptkit.log import logger, size
from ckptkit.run.best_effort import best_effort
from ckptkit.run.checkpoint_catalog import candidate_of
from ckptkit.run.commit import AbandonedError, begin_writing, commit
from ckptkit.run.disk_space import Target
from ckptkit.run.events import Saved as SavedEvent
from ckptkit.run.events import SaveFailed
from ckptkit.run.manifest import Manifest
from ckptkit.run.retention import retain
from ckptkit.run.tensorflow_state_file import write_state_file
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import NO_SPACE
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.writing import tensor_file
from ckptkit.writing.page_cache import WORTH_BYTES, PageCacheDrain

TRANSIENT_ERRNOS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ETIMEDOUT,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ESTALE,
    }
)
"""Errors after which the same write may succeed a moment later."""

TRIES = 4
WAIT = wait_exponential(multiplier=0.25, max=10)
"""Waits of a quarter, a half and one second between the tries."""


@dataclass(frozen=True)
class Job:
    """A snapshot to be written.

    Args:
        step: the step at which it was taken.
        run: writes it.
        drop: is called with the reason if it will not be written.
        must: whether it must not be replaced by a newer one.
    """

    step: int
    run: Callable[[], None]
    drop: Callable[[str], None]
    must: bool


class CheckpointWriter(Protocol):
    """Runs jobs in the order in which they are submitted, at once or later."""

    @property
    def busy(self) -> bool:
        """Whether a job is running or waiting."""
        ...

    def check(self) -> None:
        """Raises the errors of earlier jobs, once."""
        ...

    def submit(self, job: Job) -> None:
        """Takes a job, whatever happened to earlier ones."""
        ...

    def finish(self) -> None:
        """Waits until all jobs are done, and raises none of their errors."""
        ...

    def wait(self, timeout_secs: float | None = None) -> None:
        """Waits until all jobs are done, and raises their errors."""
        ...

    def abandon(self) -> None:
        """Gives up all jobs: nothing waits for them any more."""
        ...


class ForegroundWriter:
    """Runs each job at once, on the calling thread; its errors are raised there."""

    busy = False

    def check(self) -> None:
        return None

    def submit(self, job: Job) -> None:
        job.run()

    def finish(self) -> None:
        return None

    def wait(self, timeout_secs: float | None = None) -> None:
        return None

    def abandon(self) -> None:
        return None


def write_checkpoint(
    target: Target, snapshot: Snapshot, manifest: Manifest, snapshot_secs: float, taken_at: float
) -> Manifest:
    """Make room, write, commit and record a checkpoint, then delete what the keep policy gives up.

    An error that may pass is tried again.

    Args:
        target: where to write.
        snapshot: the state.
        manifest: everything except the lists of tensors and files.
        snapshot_secs: how long training stopped for the snapshot.
        taken_at: when the snapshot was taken, in seconds since the epoch.

    Returns:
        The manifest as it was written.

    Raises:
        StorageError: if the disk refuses; earlier checkpoints are untouched.
        AbandonedError: if the run was closed meanwhile.
    """
    began = time.monotonic()
    written = _write_with_retries(target, snapshot, replace(manifest, tensors=snapshot.entries))
    _record_save(target, written, snapshot_secs, time.monotonic() - began, taken_at)
    # The checkpoint is committed. What follows may fail without making the save a failure.
    with best_effort(target.journal, "apply the keep policy"):
        retain(target.files, target.index, target.journal, target.keep)
    with best_effort(target.journal, "write TensorFlow's state file"):
        write_state_file(target.files, target.index.layout, target.index.names())
    return written


def _write_with_retries(target: Target, snapshot: Snapshot, manifest: Manifest) -> Manifest:
    """Makes room, writes and commits a checkpoint; an error that may pass is tried again."""
    candidate = candidate_of(manifest)
    # A number, so that the function below does not refer to the snapshot: tenacity keeps the
    # function until the thread ends, and the snapshot's memory must be freed before.
    needed_bytes = snapshot.size_bytes

    def before_another_try(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("could not save %s, trying again: %s", manifest.position, error)
        _drop_tracebacks(error)
        # A quota is exceeded while the file system still has space, so the estimate before the
        # write cannot see it.
        if isinstance(error, StorageError) and error.errno in NO_SPACE:
            target.make_room(candidate, needed_bytes, refused=True)

    try:
        target.make_room(candidate, needed_bytes)
        for attempt in Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_attempt(TRIES),
            wait=WAIT,
            before_sleep=before_another_try,
            reraise=True,
        ):
            with attempt:
                written = _write_and_commit(target, snapshot, manifest)
                target.index.add(written)
        # Checked before anything else changes on the disk: the run may have another owner by now.
        if target.permit.withdrawn:
            raise AbandonedError
    except BaseException as error:
        if target.permit.withdrawn:
            raise AbandonedError from error
        _record_failure(target, manifest, error)
        raise
    return written


def _record_save(
    target: Target, written: Manifest, snapshot_secs: float, write_secs: float, taken_at: float
) -> None:
    """Records a committed checkpoint in the journal and in the log."""
    target.journal.record(
        SavedEvent(
            checkpoint=str(written.name),
            step=written.step,
            epoch=written.epoch,
            batch=written.batch,
            trigger=written.trigger,
            size_bytes=written.size_bytes,
            snapshot_secs=snapshot_secs,
            write_secs=write_secs,
            metrics=written.metrics,
            final=written.final,
            taken_at=taken_at,
        )
    )
    logger.info(
        "saved %s: %s, %s in %.2f s",
        written.position,
        written.trigger,
        size(written.size_bytes),
        write_secs,
    )


def _write_and_commit(target: Target, snapshot: Snapshot, manifest: Manifest) -> Manifest:
    """Writes the files of a checkpoint into a hidden directory, and makes it visible."""
    directory = begin_writing(target.files, target.index.layout, manifest.attempt)
    drain = PageCacheDrain(directory) if snapshot.size_bytes >= WORTH_BYTES else None
    try:
        with drain or nullcontext():
            tensor_file.write_tensors(snapshot, directory, manifest.step)
        return commit(
            target.files,
            target.index.layout,
            manifest,
            entry=drain.entry if drain else file_entry,
            permit=target.permit,
        )
    finally:
        if drain is not None:
            drain.close()


def _is_transient(error: BaseException) -> bool:
    """Whether the same write may succeed a moment later."""
    return isinstance(error, StorageError) and error.errno in TRANSIENT_ERRNOS


def _drop_tracebacks(error: BaseException | None) -> None:
    """Frees what an error's tracebacks refer to, above all the snapshot.

    Tenacity keeps the error until the next try is over.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _record_failure(target: Target, manifest: Manifest, error: BaseException) -> None:
    """Removes the files of a failed save, and records the failure.

    If that fails as well, it is only logged: the first error is the one to raise.
    """
    try:
        target.files.remove_tree(target.index.layout.writing(manifest.attempt))
        target.journal.record(
            SaveFailed(step=manifest.step, error=type(error).__name__, message=str(error))
        )
    except StorageError as second:
        logger.warning("after a failed save: %s", second)
