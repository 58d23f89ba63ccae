"""Writes a snapshot as a checkpoint: frees space, writes, commits, applies the keep policy."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from ckptkit.errors import StorageError
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import candidate_of
from ckptkit.run.checkpoint_state_file import write_state_file
from ckptkit.run.commit import AbandonedError, begin_writing, commit
from ckptkit.run.journal import best_effort
from ckptkit.run.manifest import Manifest, format_version
from ckptkit.run.retention import retain
from ckptkit.run.space_reclaim import make_room
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import NO_SPACE
from ckptkit.writing.data_anchor_files import add_anchors, known_entry, note_written
from ckptkit.writing.data_file_sync import WORTH_BYTES, DataFileSync
from ckptkit.writing.incremental_bundle import PlannedBundle
from ckptkit.writing.save_record import record_failure, record_save

if TYPE_CHECKING:
    from ckptkit.run.save_target import SaveContext
    from ckptkit.tracking.snapshot import Snapshot

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
"""The error numbers after which the same write may succeed a moment later."""

TRIES = 4
WAIT = wait_exponential(multiplier=0.25, max=10)
"""The waits between tries: a quarter, a half and one second."""


@dataclass(frozen=True)
class Job:
    """A job of the writer: a snapshot to write.

    Args:
        step: the step of the snapshot.
        run: writes the snapshot.
        drop: is called with the reason if the snapshot will not be written.
        must: whether the job must not be replaced by a newer one.
    """

    step: int
    run: Callable[[], None]
    drop: Callable[[str], None]
    must: bool


class CheckpointWriter(Protocol):
    """The interface of a writer: runs jobs in the order in which they are submitted."""

    @property
    def busy(self) -> bool:
        """Whether a job is running or waiting."""
        ...

    @property
    def full(self) -> bool:
        """Whether one job is running and another one is waiting."""
        ...

    def check(self) -> None:
        """Raise the errors of earlier jobs, once."""
        ...

    def submit(self, job: Job) -> None:
        """Submit a job, even if earlier jobs failed."""
        ...

    def finish(self) -> None:
        """Wait until all jobs are done, without raising their errors."""
        ...

    def wait(self, timeout_secs: float | None = None) -> None:
        """Wait until all jobs are done, and raise their errors."""
        ...

    def abandon(self) -> None:
        """Abandon all jobs: nothing waits for them any more."""
        ...


class ForegroundWriter:
    """Runs each job at once on the calling thread, where its errors are raised."""

    busy = full = False

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
    target: SaveContext,
    planned: PlannedBundle,
    snapshot: Snapshot,
    manifest: Manifest,
    snapshot_secs: float,
    taken_at: float,
) -> tuple[Manifest, int]:
    """Write a checkpoint from a snapshot, commit it, and apply the keep policy.

    It frees space first if necessary, and tries again after a temporary error.

    Args:
        target: where and how to write.
        planned: the planned files of the snapshot's tensors.
        snapshot: the state.
        manifest: the manifest without the lists of tensors and files.
        snapshot_secs: how long training stopped for the snapshot.
        taken_at: when the snapshot was taken, in seconds since the epoch.

    Returns:
        The manifest as it was written, and the bytes of what earlier checkpoints do not have.

    Raises:
        StorageError: if the disk refuses; earlier checkpoints are untouched.
        AbandonedError: If the run was closed meanwhile.
    """
    began = time.monotonic()
    complete = replace(manifest, tensors=snapshot.entries)
    written, shared_bytes = _write_with_retries(target, planned, snapshot, complete)
    secs = time.monotonic() - began
    new_bytes = record_save(target, written, shared_bytes, snapshot_secs, secs, taken_at)
    # The checkpoint is committed. A failure below does not make the save a failure.
    with best_effort(target.journal, "apply the keep policy"):
        retain(target.files, target.index, target.journal, target.keep)
    with best_effort(target.journal, "write TensorFlow's state file"):
        write_state_file(target.files, target.index.layout, target.index.names())
    return written, new_bytes


def _write_with_retries(
    target: SaveContext, planned: PlannedBundle, snapshot: Snapshot, manifest: Manifest
) -> tuple[Manifest, int]:
    """Free space, write and commit a checkpoint; try again after a temporary error.

    Returns:
        The manifest, and the size in bytes of files that the checkpoint shares with the one before.
    """
    candidate = candidate_of(manifest)
    # A number, so that the function below does not refer to the snapshot: tenacity keeps the
    # function until the thread ends, and the snapshot's memory must be freed before.
    needed_bytes = snapshot.size_bytes
    new_anchors = sum(
        use.anchor is not None and use.anchor.tensors is not None for use in snapshot.anchors
    )
    forget = planned.bundle.forget
    room = partial(
        make_room,
        target,
        candidate,
        needed_bytes,
        new_anchors=new_anchors,
        shared_bytes=planned.shared_bytes,
    )

    def before_another_try(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("could not save %s, trying again: %s", manifest.position, error)
        drop_tracebacks(error)
        # A quota may be exceeded while the file system still has space, which the estimate before
        # the write cannot know.
        if isinstance(error, StorageError) and error.errno in NO_SPACE:
            room(refused=True)
        else:
            forget()  # the next try writes everything anew

    try:
        room()
        for attempt in Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_attempt(TRIES),
            wait=WAIT,
            before_sleep=before_another_try,
            reraise=True,
        ):
            with attempt:
                written, shared_bytes = _write_and_commit(target, planned, snapshot, manifest)
                target.index.add(written)
        # Checked before any other change on disk: another process may own the run by now.
        if target.permit.withdrawn:
            raise AbandonedError
    except BaseException as error:
        if target.permit.withdrawn:
            raise AbandonedError from error
        record_failure(target, manifest, error)
        raise
    return written, shared_bytes


def _write_and_commit(
    target: SaveContext, planned: PlannedBundle, snapshot: Snapshot, manifest: Manifest
) -> tuple[Manifest, int]:
    """Write the files of a checkpoint into a hidden directory, and commit it.

    Returns:
        as `_write_with_retries`.
    """
    directory = begin_writing(target.files, target.index.layout, manifest.attempt)
    planned.share(target, directory)
    drain = DataFileSync(directory) if planned.new_bytes >= WORTH_BYTES else None
    try:
        with drain or nullcontext():
            tensors = planned.write(directory, manifest.step)
        anchors = add_anchors(target, snapshot.anchors, directory, manifest)
        measured = drain.entry if drain else file_entry
        written = commit(
            target.files,
            target.index.layout,
            replace(
                manifest,
                anchors=anchors,
                format_version=format_version(anchors, manifest.tensors),
            ),
            entry=lambda path: (
                tensors.known_entry(path.name)
                or known_entry(snapshot.anchors, path.name)
                or measured(path)
            ),
            permit=target.permit,
        )
        planned.committed(target, tensors, written)
        note_written(snapshot.anchors, written)
        return written, tensors.shared_bytes
    finally:
        if drain is not None:
            drain.close()


def _is_transient(error: BaseException) -> bool:
    """Return whether the same write may succeed a moment after this error."""
    return isinstance(error, StorageError) and error.errno in TRANSIENT_ERRNOS


def drop_tracebacks(error: BaseException | None) -> None:
    """Free the objects that an error's tracebacks refer to, above all the snapshot.

    Tenacity keeps the error until the next try is over, and a session until a save succeeds.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
