"""Takes snapshots for a session, and writes them to disk one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.log import logger, size
from ckptkit.policies import Moment
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.manifest import Manifest
from ckptkit.run.save_target import SaveContext
from ckptkit.session.options import RunOptions
from ckptkit.session.snapshot_writer import SnapshotTaker, SnapshotWriter, Taken
from ckptkit.session.stopwatch import Stopwatch
from ckptkit.tracking import snapshot
from ckptkit.tracking.tracker import Tracked, Tracker
from ckptkit.writing.background_writer import BackgroundWriter
from ckptkit.writing.checkpoint_writer import (
    CheckpointWriter,
    ForegroundWriter,
)
from ckptkit.writing.memory_headroom import available_bytes
from ckptkit.writing.save_cost import CostMeter

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
        on_saved: see `SnapshotWriter`. In the foreground, training stops for the writing too.

    Attributes:
        snapshots: writes the snapshots, or sends them to the worker of the job that writes.
    """

    def __init__(
        self,
        options: RunOptions,
        target: SaveContext,
        tracker: Tracker,
        stopwatch: Stopwatch,
        on_saved: Callable[[Manifest, int, float, float], None],
    ) -> None:
        self._options, self._journal = options, target.journal
        self._tracker, self._stopwatch = tracker, stopwatch
        self._on_saved = on_saved
        self.snapshots: SnapshotTaker = SnapshotWriter(options, target, self._saved)
        self._writer: CheckpointWriter = (
            BackgroundWriter() if options.background else ForegroundWriter()
        )
        self._cost = CostMeter()
        self._copy_bytes = 0
        self._newest = (0, 0.0)  # the bytes that the newest save wrote, and the seconds for that

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
            self.snapshots.unwritten = None  # the new snapshot replaces it, also in memory
            began = time.monotonic()
            taken = snapshot.take_snapshot(self._tracker.track_now())
            secs = time.monotonic() - began
            now = self._options.clock.now()
            return Taken(taken, position, metrics, running_averages, secs, now)

    def prepare(self) -> None:
        """Prepare the first snapshot, so that it takes no longer than the others."""
        self._tracker.prepare()

    @property
    def iterators_losing_order(self) -> list[str]:
        """Sentences about iterators in the state whose order a resume cannot repeat."""
        return self._tracker.iterators_losing_order

    @property
    def is_shared(self) -> bool:
        """Whether the workers of a job save together."""
        return self.snapshots.is_shared

    @property
    def is_writing(self) -> bool:
        """Whether a save is being written."""
        return self._writer.busy

    def measured(self, **moment: Any) -> Moment:
        """Return the moment at which a policy decides, with what is known about the cost of saves.

        Args:
            **moment: the other arguments of `Moment`. They are built into one object, because each
                turn of training makes one.
        """
        save_bytes, write_secs = self._newest
        return Moment(
            **moment,
            save_secs=self._cost.secs,
            save_bytes=save_bytes,
            write_secs=write_secs,
            failed_saves=self.snapshots.failed_saves,
            is_writing=self.is_writing,
            is_measuring=self._cost.is_measuring,
        )

    @property
    def is_full(self) -> bool:
        """Whether one save is being written, and another one waits."""
        return self._writer.full

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
        try:
            with self._stopwatch.during("saving"):
                self._writer.submit(
                    self.snapshots.job(taken, manifest, must=must, periodic=periodic)
                )
        finally:  # a failed save costs time, too
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

    def _saved(
        self, manifest: Manifest, new_bytes: int, stall_secs: float, write_secs: float
    ) -> None:
        self._newest = new_bytes, write_secs
        if isinstance(self._writer, ForegroundWriter):
            stall_secs += write_secs
        self._on_saved(manifest, new_bytes, stall_secs, write_secs)

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
    def unsaved(self) -> RunPosition | None:
        """The position of the newest save if it could not be written, else None."""
        return self.snapshots.unsaved

    @property
    def unwritten(self) -> Taken | None:
        """The snapshot of the newest save if it could not be written and none was taken since."""
        return self.snapshots.unwritten

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
        self.snapshots.check_space()

    def abandon(self) -> None:
        """Forbid further commits without waiting, because the program must stop now."""
        self.snapshots.withdraw()
        self._writer.abandon()

    # -- before the machine goes away

    @property
    def write_secs(self) -> float | None:
        """The seconds to write a save that shares nothing with an earlier one; None if unknown."""
        return self.snapshots.write_secs

    def write_secs_for(self, taken: Taken) -> float | None:
        """Return the seconds to write a snapshot, which shares what has not changed.

        Args:
            taken: the snapshot.
        """
        return self.snapshots.write_secs_for(taken.snapshot)

    @property
    def writing_for_secs(self) -> float | None:
        """The seconds since the save that is being written was begun; None if there is none."""
        since = self.snapshots.writing_since
        return None if since is None else time.monotonic() - since
