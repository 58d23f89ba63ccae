"""From a snapshot to a committed checkpoint."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger, size
from ckptkit.policies import Candidate, KeepPolicy
from ckptkit.run.best_effort import best_effort
from ckptkit.run.checkpoint_index import CheckpointIndex
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.disk_space import NO_SPACE, Room
from ckptkit.run.events import Saved as SavedEvent
from ckptkit.run.events import SaveFailed
from ckptkit.run.journal import Journal
from ckptkit.run.manifest import Manifest, from_numbers
from ckptkit.run.retention import retain
from ckptkit.run.state_file import write_state_file
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import FileSystem
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.writing import tensor_file
from ckptkit.writing.page_cache import WORTH_BYTES, PageCacheDrain

PASSING = frozenset(
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
"""A quarter, a half and one second between the tries."""


_RENAME_SECS = 2.0


class AbandonedError(Exception):
    """The run was let go of while a save was being written."""


class Permit:
    """Held while a checkpoint becomes visible; where it was withdrawn, none does any more."""

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
        """From now on nothing is committed; waits for a rename that is under way, unless it hangs."""
        held = self._lock.acquire(timeout=_RENAME_SECS)
        self.withdrawn = True
        if held:
            self._lock.release()


@dataclass(frozen=True)
class Target:
    """Where checkpoints of one attempt go.

    Args:
        files: how to change the disk.
        index: what is known of the run's checkpoints.
        journal: of this attempt.
        keep: which checkpoints stay.
        permit: to commit.
    """

    files: FileSystem
    index: CheckpointIndex
    journal: Journal
    keep: KeepPolicy
    permit: Permit = field(default_factory=Permit)

    @property
    def layout(self) -> RunLayout:
        """The run."""
        return self.index.layout

    @property
    def room(self) -> Room:
        """How room is made for a checkpoint."""
        return Room(self.files, self.index, self.journal, self.keep)


@dataclass(frozen=True)
class Job:
    """A snapshot that is to be written.

    Args:
        step: where it was taken.
        run: writes it.
        drop: is told why it will not be written.
        must: whether it may not be dropped for a newer one.
    """

    step: int
    run: Callable[[], None]
    drop: Callable[[str], None]
    must: bool


class CheckpointWriter(Protocol):
    """Runs jobs, now or later, in the order in which they come."""

    @property
    def busy(self) -> bool:
        """Whether a job is at work or waits."""
        ...

    def check(self) -> None:
        """Raises what went wrong in an earlier job, once."""
        ...

    def submit(self, job: Job) -> None:
        """Takes a job, whatever went wrong in an earlier one."""
        ...

    def finish(self) -> None:
        """Returns when everything submitted is done; what went wrong is still to be raised."""
        ...

    def wait(self, timeout_secs: float | None = None) -> None:
        """Returns when everything submitted is done; raises what went wrong."""
        ...

    def abandon(self) -> None:
        """Nobody waits for what is being written any more."""
        ...


class ForegroundWriter:
    """Writes at once, on the calling thread."""

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
    """Makes room, writes, commits, tells, and then takes away what the keep policy gave up. What
    may pass is tried again.

    Args:
        target: where to.
        snapshot: the state.
        manifest: all but the lists of tensors and files.
        snapshot_secs: how long training stood still for the snapshot.
        taken_at: when that was, in seconds since the epoch.

    Returns:
        The manifest as it was written.

    Raises:
        StorageError: where the disk refuses; earlier checkpoints are untouched.
    """
    began = time.monotonic()
    manifest = replace(manifest, tensors=snapshot.entries)
    coming = Candidate(
        name=str(manifest.name), step=manifest.step, metrics=from_numbers(manifest.metrics)
    )
    # the function below must not hold the snapshot, for tenacity holds the function until the
    # thread ends
    needed = snapshot.size_bytes

    def before_another_try(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("could not save %s, trying again: %s", manifest.position, error)
        _forget_frames(error)
        if isinstance(error, StorageError) and error.errno in NO_SPACE:
            target.room.make(coming, needed, refused=True)

    try:
        target.room.make(coming, needed)
        for attempt in Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(TRIES),
            wait=WAIT,
            before_sleep=before_another_try,
            reraise=True,
        ):
            with attempt:
                written = _write(target, snapshot, manifest)
                target.index.add(written)
        if target.permit.withdrawn:
            raise AbandonedError  # the run may be another process's by now
    except BaseException as error:
        if target.permit.withdrawn:
            raise AbandonedError from error
        _tell_and_clean(target, manifest, error)
        raise
    write_secs = time.monotonic() - began
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
        ),
    )
    logger.info(
        "saved %s: %s, %s in %.2f s",
        written.position,
        written.trigger,
        size(written.size_bytes),
        write_secs,
    )
    with best_effort(target.journal, "apply the keep policy"):
        retain(target.files, target.index, target.journal, target.keep)
    with best_effort(target.journal, "write TensorFlow's state file"):
        write_state_file(target.files, target.layout, target.index.names())
    return written


def _write(target: Target, snapshot: Snapshot, manifest: Manifest) -> Manifest:
    directory = begin_writing(target.files, target.layout, manifest.attempt)
    drain = PageCacheDrain(directory) if snapshot.size_bytes >= WORTH_BYTES else None
    try:
        with drain or nullcontext():
            tensor_file.write(snapshot, directory, manifest.step)
        return commit(
            target.files,
            target.layout,
            manifest,
            entry=drain.entry if drain else file_entry,
            permit=target.permit,
        )
    finally:
        if drain is not None:
            drain.close()


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, StorageError) and error.errno in PASSING


def _forget_frames(error: BaseException | None) -> None:
    """Lets go of what an error's traceback holds: the snapshot, which is large, and for as long as
    tenacity holds the error.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _tell_and_clean(target: Target, manifest: Manifest, error: BaseException) -> None:
    """What can still be done after a failed save; where that fails as well, the first error is the
    one to raise.
    """
    try:
        target.files.remove_tree(target.layout.writing(manifest.attempt))
        target.journal.record(
            SaveFailed(step=manifest.step, error=type(error).__name__, message=str(error))
        )
    except StorageError as second:
        logger.warning("after a failed save: %s", second)
