"""Snapshots of one attempt, on their way to the disk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ckptkit.errors import BackgroundSaveError, StorageError
from ckptkit.log import logger, size
from ckptkit.position import RunPosition
from ckptkit.preemption.emergency import EmergencyDecision, decide
from ckptkit.run import events
from ckptkit.run.best_effort import try_record
from ckptkit.run.disk_space import NO_SPACE
from ckptkit.run.journal import Journal
from ckptkit.run.manifest import Manifest
from ckptkit.session.architecture_saver import ArchitectureSaver
from ckptkit.session.options import RunOptions
from ckptkit.session.stopwatch import Stopwatch
from ckptkit.tracking import snapshot
from ckptkit.tracking.tracker import Tracker
from ckptkit.writing.background_writer import BackgroundWriter
from ckptkit.writing.checkpoint_writer import (
    CheckpointWriter,
    ForegroundWriter,
    Job,
    Target,
    write_checkpoint,
)
from ckptkit.writing.save_cost import CostMeter, available_bytes

COPIES = 1.15
"""How much memory a write takes, in copies of the state: training's next steps put new buffers
beside the snapshot's.
"""


@dataclass(frozen=True)
class Taken:
    """A snapshot, where the run was, what was measured there, how long training stood still for it,
    and when that was.
    """

    snapshot: snapshot.Snapshot
    position: RunPosition
    metrics: dict[str, float]
    secs: float
    time: float


class Saver:
    """Takes snapshots and has them written.

    Args:
        plan: of the attempt.
        journal: of the attempt.
        tracker: what there is to save.
        stopwatch: what training spends its time on; some of it is spent here.
        told: is told of each save that was committed, with how long training stood still, and how
            long it was written.
    """

    def __init__(
        self,
        plan: RunOptions,
        journal: Journal,
        tracker: Tracker,
        stopwatch: Stopwatch,
        told: Callable[[Manifest, float, float], None],
    ) -> None:
        self._stopwatch = stopwatch
        self._plan = plan
        self._journal = journal
        self._tracker = tracker
        self._told = told
        self._target = Target(plan.files, plan.layout, journal, plan.keep)
        self._architectures = ArchitectureSaver(plan.state, plan.files, plan.layout, journal)
        self.unsaved: RunPosition | None = None
        """Where the newest save was not written, for want of space or for another reason; None once
        one was written.
        """
        self._no_space: StorageError | None = (
            None  # where that was the reason, so that nobody was told by an exception
        )
        self._writer: CheckpointWriter = (
            BackgroundWriter() if plan.background else ForegroundWriter()
        )
        self._cost = CostMeter()
        self._write_secs: deque[float] = deque(maxlen=3)
        self._writing_since: float | None = None
        self._copy_bytes = 0

    # -- snapshots

    def take(self, position: RunPosition, metrics: dict[str, float]) -> Taken:
        """Takes a snapshot of now; training may go on."""
        with self._stopwatch.during("saving"):
            if self._writer.busy and available_bytes() < COPIES * self._copy_bytes:
                logger.info(
                    "no memory for a further copy of the state (%s): waiting for the save that is "
                    "being written",
                    size(self._copy_bytes),
                )
                self._writer.finish()
            began = time.monotonic()
            taken = snapshot.take_snapshot(self._tracker.track_now())
            return Taken(taken, position, metrics, time.monotonic() - began, self._plan.clock.now())

    def save(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> None:
        """Has a snapshot written.

        Args:
            taken: the snapshot.
            manifest: all that is to be said of it, but its tensors and files.
            must: whether it may not be dropped for a newer one.
            periodic: whether another one follows by itself: a lack of space is then said, and
                training goes on.

        Raises:
            StorageError: where the disk refuses, and this one was written in the foreground.
        """
        if not self._copy_bytes:
            self._check_memory(taken)
        began = time.monotonic()
        with self._stopwatch.during("saving"):
            self._writer.submit(
                Job(
                    step=manifest.step,
                    run=lambda: self._write(taken, manifest, periodic=periodic),
                    must=must,
                    drop=lambda reason: try_record(
                        self._journal, events.SaveDropped(step=manifest.step, reason=reason)
                    ),
                )
            )
        self._cost.snapshot_taken(taken.secs + time.monotonic() - began)

    def _check_memory(self, taken: Taken) -> None:
        """Before the first save: whether there is room for a copy of the state while it is written."""
        self._copy_bytes = max(taken.snapshot.size_bytes, 1)
        free = available_bytes()
        if isinstance(self._writer, BackgroundWriter) and free < COPIES * self._copy_bytes:
            reason = f"a copy of the state takes {size(self._copy_bytes)} of memory, and {size(free)} are free"
            logger.warning(
                "saving in the foreground, which stops training for as long as it takes: %s", reason
            )
            self._journal.record(events.ForegroundSaves(reason=reason))
            self._writer = ForegroundWriter()

    def _write(self, taken: Taken, manifest: Manifest, *, periodic: bool) -> None:
        began = self._writing_since = time.monotonic()
        try:
            manifest = replace(manifest, states=self._architectures.named(manifest.states))
            written = write_checkpoint(
                self._target, taken.snapshot, manifest, taken.secs, taken.time
            )
        except BaseException as error:
            self.unsaved, self._no_space = taken.position, None
            if not periodic or not isinstance(error, StorageError) or error.errno not in NO_SPACE:
                raise
            self._refuse(taken.position, error)
            return
        finally:
            self._writing_since = None
        self.unsaved = self._no_space = None
        if not self._write_secs:
            self._say_size(written)
        self._write_secs.append(time.monotonic() - began)
        stall_secs = taken.secs + (
            self._write_secs[-1] if isinstance(self._writer, ForegroundWriter) else 0.0
        )
        self._told(written, stall_secs, self._write_secs[-1])

    def _refuse(self, position: RunPosition, error: StorageError) -> None:
        """A save that fell due found no space: the next one tries anew, and where there is none,
        the end of training does, and is an error then.
        """
        self._no_space = error
        logger.warning(
            "NOT SAVED at %s, and training goes on: %s The checkpoints from before are untouched; "
            "the next save tries again",
            position,
            error,
        )

    def _say_size(self, written: Manifest) -> None:
        most = self._plan.keep.most()
        total = (
            "more and more, as the run goes on"
            if most is None
            else f"at most {size(written.size_bytes * (most + 1))}"
        )
        logger.info(
            "one checkpoint takes %s; with %r all of them take %s",
            size(written.size_bytes),
            self._plan.keep,
            total,
        )
        values = sum(entry.size_bytes for entry in written.tensors)
        if written.size_bytes > 2 * values + 1_000_000:
            logger.info(
                "most of it (%s) is not the model but the position of its data: a smaller shuffle "
                "buffer, or ckptkit.data.shuffled, "
                "makes it small",
                size(written.size_bytes - values),
            )

    # -- while training goes on

    def check(self) -> None:
        """Raises what went wrong in a save, once.

        Raises:
            BackgroundSaveError: with its cause.
        """
        self._writer.check()

    def turn(self, now_secs: float) -> None:
        """A turn of training is done."""
        self._cost.step_done(now_secs, self._writer.busy)

    @property
    def cost_secs(self) -> float | None:
        """What a save costs training, in seconds; None where that is not known yet."""
        return self._cost.secs

    def finish(self) -> None:
        """Returns when nothing is being written any more; what went wrong is still to be raised."""
        with self._stopwatch.during("saving"):
            self._writer.finish()

    def wait(self, timeout_secs: float | None = None) -> None:
        """Returns when everything is committed.

        Raises:
            BackgroundSaveError: what went wrong.
        """
        with self._stopwatch.during("saving"):
            self._writer.wait(timeout_secs)

    def confirm(self, timeout_secs: float | None = None) -> None:
        """Returns when everything is committed, and the newest save is.

        Raises:
            BackgroundSaveError: what went wrong, a lack of space at the newest save included.
        """
        self.wait(timeout_secs)
        if self._no_space is not None:
            raise BackgroundSaveError(
                f"The newest save, at {self.unsaved}, was not written: {self._no_space} The "
                "checkpoints from before it are "
                f"untouched.",
                self._no_space,
            ) from self._no_space

    def abandon(self) -> None:
        """Nothing is committed any more, and nobody waits: somebody wants to stop now."""
        self._target.permit.withdraw()
        self._writer.abandon()

    # -- the machine goes away

    @property
    def write_secs(self) -> float | None:
        """What a save takes to be written, by the fastest of the last three; training did not stand
        still for those.
        """
        return min(self._write_secs, default=None)

    def decide(self, deadline: float | None) -> EmergencyDecision:
        """What can still be saved.

        Args:
            deadline: on the monotonic clock, or None.
        """
        now = time.monotonic()
        since = self._writing_since
        return decide(
            left_secs=None if deadline is None else deadline - now,
            write_secs=self.write_secs,
            writing_for_secs=None if since is None else now - since,
        )
