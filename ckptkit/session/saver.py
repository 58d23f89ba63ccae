"""Takes snapshots for a session, and writes them to disk one after the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ckptkit.errors import BackgroundSaveError, StorageError
from ckptkit.log import logger, size
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.manifest import Manifest
from ckptkit.run.save_target import SaveTarget
from ckptkit.session.architecture_saver import ArchitectureSaver
from ckptkit.session.options import RunOptions
from ckptkit.storage.files import NO_SPACE
from ckptkit.tracking import snapshot
from ckptkit.tracking.tracker import Tracked, Tracker
from ckptkit.writing.background_writer import BackgroundWriter
from ckptkit.writing.checkpoint_writer import (
    CheckpointWriter,
    ForegroundWriter,
    Job,
    write_checkpoint,
)
from ckptkit.writing.host_memory import available_bytes
from ckptkit.writing.save_cost import CostMeter

if TYPE_CHECKING:
    from ckptkit.session.stopwatch import Stopwatch


@dataclass(frozen=True)
class Taken:
    """A snapshot, with its position, metrics and time.

    Args:
        snapshot: the saved values.
        position: the finished training.
        metrics: the metrics at that position.
        running_averages: whether the metrics are averages over an unfinished epoch.
        secs: how long training stopped for the snapshot, in seconds.
        time: when it was taken, in seconds since the epoch.
    """

    snapshot: snapshot.Snapshot
    position: RunPosition
    metrics: Mapping[str, float]
    running_averages: bool
    secs: float
    time: float


class SnapshotWriter:
    """Makes the jobs that write snapshots, and keeps the result of the newest one.

    Args:
        options: the options of the run.
        target: the files and policies with which checkpoints are written.
        on_saved: called after each commit with two durations in seconds: how long training stopped
            for the snapshot, and how long it was written.

    Attributes:
        unsaved: the position of the newest save if it could not be written, else None.
        unwritten: its snapshot, until the next one is taken.
        writing_since: when the save in progress began, on the monotonic clock.
    """

    def __init__(
        self,
        options: RunOptions,
        target: SaveTarget,
        on_saved: Callable[[Manifest, float, float], None],
    ) -> None:
        self._options, self._target, self._on_saved = options, target, on_saved
        self._architectures = ArchitectureSaver(
            options.state, options.files, options.layout, target.journal
        )
        self._has_warned = False  # about weights that are not finite
        self.unsaved: RunPosition | None = None
        self.unwritten: Taken | None = None
        self.writing_since: float | None = None
        # The lack of space of the newest save, until an exception has reported it.
        self._no_space: StorageError | None = None
        self._write_secs: deque[float] = deque(maxlen=3)

    def job(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> Job:
        """Return the job that writes a snapshot.

        Args:
            taken: the snapshot.
            manifest: its manifest, without tensors and files.
            must: whether the snapshot must be written even if a newer one is waiting.
            periodic: whether another save follows by itself; if so, a lack of space is only a
                warning.
        """
        return Job(
            step=manifest.step,
            run=lambda: self._write(taken, manifest, periodic=periodic),
            must=must,
            drop=lambda reason: self._target.journal.record(
                events.SaveDropped(step=manifest.step, reason=reason)
            ),
        )

    def _write(self, taken: Taken, manifest: Manifest, *, periodic: bool) -> None:
        began = self.writing_since = time.monotonic()
        try:
            manifest = replace(
                manifest,
                states=self._architectures.named(manifest.states),
                not_finite=snapshot.not_finite(taken.snapshot),
            )
            self._warn_not_finite(manifest)
            written = write_checkpoint(
                self._target, taken.snapshot, manifest, taken.secs, taken.time
            )
        except BaseException as error:
            self.unsaved, self.unwritten, self._no_space = taken.position, taken, None
            if not periodic or not isinstance(error, StorageError) or error.errno not in NO_SPACE:
                raise
            self._note_no_space(taken.position, error)
            return
        finally:
            self.writing_since = None
        self.unsaved = self.unwritten = self._no_space = None
        if not self._write_secs:
            self._log_size(written)
        self._write_secs.append(time.monotonic() - began)
        self._on_saved(written, taken.secs, self._write_secs[-1])

    def _warn_not_finite(self, manifest: Manifest) -> None:
        if manifest.not_finite and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "NaN or infinity in %s at %s: training from here on is probably useless. The "
                "newest checkpoint with finite weights is kept; return to it with: ckptkit "
                "rollback %s STEP",
                ", ".join(manifest.not_finite),
                manifest.position,
                self._options.layout.root,
            )

    def _note_no_space(self, position: RunPosition, error: StorageError) -> None:
        """Warn that there was no space for a periodic save.

        The next save tries again. The save at the end of training raises an error if there is still
        no space.
        """
        self._no_space = error
        logger.warning(
            "NOT SAVED at %s, and training continues. Earlier checkpoints are untouched, and the "
            "next save tries again: %s",
            position,
            error,
        )

    def _log_size(self, written: Manifest) -> None:
        most = self._options.keep.most()
        total = (
            "more and more over the run"
            if most is None
            else f"at most {size(written.size_bytes * (most + 1))}"
        )
        logger.info(
            "one checkpoint takes %s; with %r all of them take %s",
            size(written.size_bytes),
            self._options.keep,
            total,
        )
        values = sum(entry.size_bytes for entry in written.tensors)
        if written.size_bytes > 2 * values + 1_000_000:
            logger.info(
                "most of it (%s) is the state of the data pipeline, not the model: a smaller "
                "shuffle buffer, or ckptkit.data.shuffled, makes it smaller",
                size(written.size_bytes - values),
            )

    # -- on the training thread

    @property
    def write_secs(self) -> float | None:
        """The seconds to write a save: the fastest of the last three, or None before the first."""
        return min(self._write_secs, default=None)

    def check_space(self) -> None:
        """Check that there was space for the newest save.

        Raises:
            BackgroundSaveError: If there was no space.
        """
        if self._no_space is not None:
            raise BackgroundSaveError(
                f"The newest save, at {self.unsaved}, was not written. Earlier checkpoints are "
                f"untouched. The reason: {self._no_space}",
                self._no_space,
            ) from self._no_space

    def withdraw(self) -> None:
        """Forbid all further commits, including the commit of the save in progress."""
        self._target.permit.withdraw()


COPIES = 1.15
"""The memory that a background save needs, in copies of the state.

While the snapshot keeps its buffers, the next training steps allocate new ones.
"""


class Saver:
    """Takes snapshots and passes them to the writer.

    Args:
        options: the options of the run.
        target: the files and policies with which checkpoints are written.
        tracker: finds the objects to save.
        stopwatch: the stopwatch of the session, which measures the time of snapshots.
        on_saved: called after each commit with two durations in seconds: how long training stopped
            for the snapshot, and how long it was written.
    """

    def __init__(
        self,
        options: RunOptions,
        target: SaveTarget,
        tracker: Tracker,
        stopwatch: Stopwatch,
        on_saved: Callable[[Manifest, float, float], None],
    ) -> None:
        self._options, self._journal = options, target.journal
        self._tracker, self._stopwatch = tracker, stopwatch
        self._on_saved = on_saved
        self._snapshots = SnapshotWriter(options, target, self._saved)
        self._writer: CheckpointWriter = (
            BackgroundWriter() if options.background else ForegroundWriter()
        )
        self._cost = CostMeter()
        self._copy_bytes = 0

    # -- snapshots

    def take(
        self, position: RunPosition, metrics: Mapping[str, float], *, running_averages: bool
    ) -> Taken:
        """Take a snapshot of the current state; training may continue as soon as this returns."""
        with self._stopwatch.during("saving"):
            # While an earlier snapshot is being written, both are in memory.
            if self._writer.busy and available_bytes() < COPIES * self._copy_bytes:
                logger.info(
                    "not enough memory for another copy of the state (%s): waiting for the save "
                    "that is being written",
                    size(self._copy_bytes),
                )
                self._writer.finish()
            self._snapshots.unwritten = None  # the new snapshot replaces it, also in memory
            began = time.monotonic()
            taken = snapshot.take_snapshot(self._tracker.track_now())
            secs = time.monotonic() - began
            now = self._options.clock.now()
            return Taken(taken, position, metrics, running_averages, secs, now)

    @property
    def iterators_losing_order(self) -> list[str]:
        """Sentences about iterators in the state whose order a resume cannot repeat."""
        return self._tracker.iterators_losing_order

    @property
    def is_writing(self) -> bool:
        """Whether a save is being written."""
        return self._writer.busy

    def state_bytes(self) -> int:
        """Return how much memory the variables of the state take, in bytes."""
        entries = snapshot.describe_leaves(self._tracker.track_now().leaves)
        return sum(entry.size_bytes for entry in entries)

    def tracked_now(self) -> Tracked:
        """Return the leaves to save now."""
        return self._tracker.track_now()

    def save(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> None:
        """Write a snapshot, or pass it to the background writer; see `SnapshotWriter.job`.

        Raises:
            StorageError: If the disk refuses, and the snapshot was written in the foreground.
        """
        if not self._copy_bytes:
            self._check_memory(taken)
        began = time.monotonic()
        with self._stopwatch.during("saving"):
            self._writer.submit(self._snapshots.job(taken, manifest, must=must, periodic=periodic))
        self._cost.snapshot_taken(taken.secs + time.monotonic() - began)

    def _check_memory(self, taken: Taken) -> None:
        """Before the first save, switch to foreground saves if memory is too small for a copy."""
        self._copy_bytes = max(taken.snapshot.size_bytes, 1)
        free = available_bytes()
        if isinstance(self._writer, BackgroundWriter) and free < COPIES * self._copy_bytes:
            reason = (
                f"a copy of the state takes {size(self._copy_bytes)} of memory, but only "
                f"{size(free)} are free"
            )
            logger.warning(
                "saving in the foreground, which stops training during each save: %s", reason
            )
            self._journal.record(events.ForegroundSaves(reason=reason))
            self._writer = ForegroundWriter()

    def _saved(self, manifest: Manifest, stall_secs: float, write_secs: float) -> None:
        if isinstance(self._writer, ForegroundWriter):
            stall_secs += write_secs
        self._on_saved(manifest, stall_secs, write_secs)

    # -- while training runs

    def check(self) -> None:
        """Raise the error of an earlier save, once.

        Raises:
            BackgroundSaveError: If an earlier save failed; its cause is attached.
        """
        self._writer.check()

    def turn(self, now_secs: float) -> None:
        """Note that a turn of training is done, to measure the cost of saves."""
        self._cost.step_done(now_secs, self._writer.busy)

    @property
    def cost_secs(self) -> float | None:
        """The seconds of training that a save costs; None before the first measurement."""
        return self._cost.secs

    @property
    def unsaved(self) -> RunPosition | None:
        """The position of the newest save if it could not be written, else None."""
        return self._snapshots.unsaved

    @property
    def unwritten(self) -> Taken | None:
        """The snapshot of the newest save if it could not be written and none was taken since."""
        return self._snapshots.unwritten

    def finish(self) -> None:
        """Wait until nothing is being written; `check` raises a failure later."""
        with self._stopwatch.during("saving"):
            self._writer.finish()

    def wait(self, timeout_secs: float | None = None) -> None:
        """Wait until all saves are committed.

        Raises:
            BackgroundSaveError: If a save failed.
        """
        with self._stopwatch.during("saving"):
            self._writer.wait(timeout_secs)

    def confirm(self, timeout_secs: float | None = None) -> None:
        """Wait until all saves are committed, and check that the newest one was written.

        Raises:
            BackgroundSaveError: If a save failed, or there was no space for the newest one.
        """
        self.wait(timeout_secs)
        self._snapshots.check_space()

    def abandon(self) -> None:
        """Forbid further commits without waiting, because the program must stop now."""
        self._snapshots.withdraw()
        self._writer.abandon()

    # -- before the machine goes away

    @property
    def write_secs(self) -> float | None:
        """The seconds that writing a save takes; training continues during that time."""
        return self._snapshots.write_secs

    @property
    def writing_for_secs(self) -> float | None:
        """The seconds since the save that is being written was begun; None if there is none."""
        since = self._snapshots.writing_since
        return None if since is None else time.monotonic() - since
