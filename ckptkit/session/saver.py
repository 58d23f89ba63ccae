"""Takes the snapshots of one session and passes them to the writer."""

from __future__ import annotations

import time
from collections.abc import Callable

from ckptkit.log import logger, size
from ckptkit.position import RunPosition
from ckptkit.preemption.emergency import EmergencyDecision, decide
from ckptkit.run import events
from ckptkit.run.journal import Journal
from ckptkit.run.manifest import Manifest
from ckptkit.session.options import RunOptions
from ckptkit.session.snapshot_writer import SnapshotWriter, Taken
from ckptkit.session.stopwatch import Stopwatch
from ckptkit.tracking import snapshot
from ckptkit.tracking.tracker import Tracked, Tracker
from ckptkit.writing.background_writer import BackgroundWriter
from ckptkit.writing.checkpoint_writer import CheckpointWriter, ForegroundWriter
from ckptkit.writing.save_cost import CostMeter, available_bytes

__all__ = ["COPIES", "Saver", "Taken"]

COPIES = 1.15
"""How much memory a write takes, in copies of the state: training's next steps put new buffers
beside the snapshot's.
"""


class Saver:
    """Takes snapshots and passes them to the writer.

    Args:
        options: the options of the run.
        journal: the journal of the attempt.
        tracker: finds the objects to save.
        stopwatch: the stopwatch of the session; some of its time is spent here.
        on_saved: called after each commit, with the seconds that training stood still for it, and
            those that it was written.
    """

    def __init__(
        self,
        options: RunOptions,
        journal: Journal,
        tracker: Tracker,
        stopwatch: Stopwatch,
        on_saved: Callable[[Manifest, float, float], None],
    ) -> None:
        self._options, self._journal = options, journal
        self._tracker, self._stopwatch = tracker, stopwatch
        self._on_saved = on_saved
        self._snapshots = SnapshotWriter(options, journal, self._saved)
        self._writer: CheckpointWriter = (
            BackgroundWriter() if options.background else ForegroundWriter()
        )
        self._cost = CostMeter()
        self._copy_bytes = 0

    # -- snapshots

    def take(
        self, position: RunPosition, metrics: dict[str, float], *, running_averages: bool
    ) -> Taken:
        """Take a snapshot of now; training may continue as soon as this returns."""
        with self._stopwatch.during("saving"):
            # While one is being written, the values of it and of this one are in memory at once.
            if self._writer.busy and available_bytes() < COPIES * self._copy_bytes:
                logger.info(
                    "no memory for a further copy of the state (%s): waiting for the save that is "
                    "being written",
                    size(self._copy_bytes),
                )
                self._writer.finish()
            began = time.monotonic()
            taken = snapshot.take_snapshot(self._tracker.track_now())
            secs = time.monotonic() - began
            now = self._options.clock.now()
            return Taken(taken, position, metrics, running_averages, secs, now)

    @property
    def iterators_losing_order(self) -> list[str]:
        """In words, the iterators of the state whose order a resume cannot repeat."""
        return self._tracker.iterators_losing_order

    def tracked_now(self) -> Tracked:
        """Return the leaves to save now."""
        return self._tracker.track_now()

    def save(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> None:
        """Write a snapshot, or pass it to the background writer; see `SnapshotWriter.job`.

        Raises:
            StorageError: If the disk refuses, and this one was written in the foreground.
        """
        if not self._copy_bytes:
            self._check_memory(taken)
        began = time.monotonic()
        with self._stopwatch.during("saving"):
            self._writer.submit(self._snapshots.job(taken, manifest, must=must, periodic=periodic))
        self._cost.snapshot_taken(taken.secs + time.monotonic() - began)

    def _check_memory(self, taken: Taken) -> None:
        """Before the first save, switch to the foreground if memory is too small for a copy."""
        self._copy_bytes = max(taken.snapshot.size_bytes, 1)
        free = available_bytes()
        if isinstance(self._writer, BackgroundWriter) and free < COPIES * self._copy_bytes:
            reason = (
                f"a copy of the state takes {size(self._copy_bytes)} of memory, and "
                f"{size(free)} are free"
            )
            logger.warning(
                "saving in the foreground, which stops training for as long as it takes: %s", reason
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
            BackgroundSaveError: With its cause.
        """
        self._writer.check()

    def turn(self, now_secs: float) -> None:
        """Note that a turn of training is done."""
        self._cost.step_done(now_secs, self._writer.busy)

    @property
    def cost_secs(self) -> float | None:
        """The training time that a save costs, in seconds; None before the first measurement."""
        return self._cost.secs

    @property
    def unsaved(self) -> RunPosition | None:
        """The position of the newest save if it was not written, else None."""
        return self._snapshots.unsaved

    def finish(self) -> None:
        """Wait until nothing is being written. A failure is kept for `check` to raise."""
        with self._stopwatch.during("saving"):
            self._writer.finish()

    def wait(self, timeout_secs: float | None = None) -> None:
        """Wait until everything is committed.

        Raises:
            BackgroundSaveError: If a save failed.
        """
        with self._stopwatch.during("saving"):
            self._writer.wait(timeout_secs)

    def confirm(self, timeout_secs: float | None = None) -> None:
        """Wait until everything is committed, and check the newest save too.

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

    def decide(self, deadline: float | None) -> EmergencyDecision:
        """Decide what can still be saved.

        Args:
            deadline: a time on the monotonic clock, in seconds; None for no deadline.
        """
        now, since = time.monotonic(), self._snapshots.writing_since
        return decide(
            left_secs=None if deadline is None else deadline - now,
            write_secs=self.write_secs,
            writing_for_secs=None if since is None else now - since,
        )
