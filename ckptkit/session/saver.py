"""Takes the snapshots of one session and writes them, one after the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ckptkit.errors import BackgroundSaveError, StorageError
from ckptkit.log import logger, size
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.disk_space import Target
from ckptkit.run.manifest import Manifest
from ckptkit.session.architecture_saver import ArchitectureSaver
from ckptkit.session.options import RunOptions
from ckptkit.session.phase import Stopwatch
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
from ckptkit.writing.save_cost import CostMeter, available_bytes


@dataclass(frozen=True)
class Taken:
    """A snapshot, with its position, metrics and time.

    Args:
        snapshot: the values.
        position: the training that was done.
        metrics: what was measured there.
        running_averages: whether these are averages over an epoch that is not over.
        secs: how long training stood still for it, in seconds.
        time: when it was taken, in seconds since the epoch.
    """

    snapshot: snapshot.Snapshot
    position: RunPosition
    metrics: dict[str, float]
    running_averages: bool
    secs: float
    time: float


class SnapshotWriter:
    """Writes snapshots on the thread that runs the jobs.

    Args:
        options: the options of the run.
        target: where the checkpoints are written.
        on_saved: called after each commit, with the seconds that training stood still for the
            snapshot, and those that it was written.

    Attributes:
        unsaved: the position of the newest save if it was not written, for lack of space or for
            another reason.
        writing_since: when the save that is being written was begun, on the monotonic clock.
    """

    def __init__(
        self,
        options: RunOptions,
        target: Target,
        on_saved: Callable[[Manifest, float, float], None],
    ) -> None:
        self._options, self._target, self._on_saved = options, target, on_saved
        self._architectures = ArchitectureSaver(
            options.state, options.files, options.layout, target.journal
        )
        self._has_warned = False  # of weights that are not finite
        self.unsaved: RunPosition | None = None
        self.writing_since: float | None = None
        # Of the newest save, if no exception has reported it.
        self._no_space: StorageError | None = None
        self._write_secs: deque[float] = deque(maxlen=3)

    def job(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> Job:
        """Return the job that writes a snapshot.

        Args:
            taken: the snapshot.
            manifest: its manifest, without tensors and files.
            must: whether it may not be dropped for a newer one.
            periodic: whether another one follows by itself. A lack of space is then a warning, and
                training continues.
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
            self.unsaved, self._no_space = taken.position, None
            if not periodic or not isinstance(error, StorageError) or error.errno not in NO_SPACE:
                raise
            self._note_no_space(taken.position, error)
            return
        finally:
            self.writing_since = None
        self.unsaved = self._no_space = None
        if not self._write_secs:
            self._log_size(written)
        self._write_secs.append(time.monotonic() - began)
        self._on_saved(written, taken.secs, self._write_secs[-1])

    def _warn_not_finite(self, manifest: Manifest) -> None:
        if manifest.not_finite and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "NaN or infinity in %s at %s: training from here on is most likely lost. The "
                "newest checkpoint with finite weights is kept; go back to it with: ckptkit "
                "rollback %s STEP",
                ", ".join(manifest.not_finite),
                manifest.position,
                self._options.layout.root,
            )

    def _note_no_space(self, position: RunPosition, error: StorageError) -> None:
        """Warn that there was no space for a periodic save.

        The next one tries again. If none follows, the end of training saves, and a lack of space
        is an error then.
        """
        self._no_space = error
        logger.warning(
            "NOT SAVED at %s, and training continues: %s Earlier checkpoints are untouched; "
            "the next save tries again",
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
                "most of it (%s) is not the model but the position of its data: a smaller shuffle "
                "buffer, or ckptkit.data.shuffled, "
                "makes it small",
                size(written.size_bytes - values),
            )

    # -- on the training thread

    @property
    def write_secs(self) -> float | None:
        """The seconds that writing a save takes: the fastest of the last three, or None."""
        return min(self._write_secs, default=None)

    def check_space(self) -> None:
        """Check that there was space for the newest save.

        Raises:
            BackgroundSaveError: If there was not.
        """
        if self._no_space is not None:
            raise BackgroundSaveError(
                f"The newest save, at {self.unsaved}, was not written: {self._no_space} The "
                "checkpoints from before it are "
                f"untouched.",
                self._no_space,
            ) from self._no_space

    def withdraw(self) -> None:
        """Forbid further commits, including that of the save that is being written."""
        self._target.permit.withdraw()


COPIES = 1.15
"""How much memory a write takes, in copies of the state: training's next steps put new buffers
beside the snapshot's.
"""


class Saver:
    """Takes snapshots and passes them to the writer.

    Args:
        options: the options of the run.
        target: where the checkpoints are written.
        tracker: finds the objects to save.
        stopwatch: the stopwatch of the session; some of its time is spent here.
        on_saved: called after each commit, with the seconds that training stood still for it, and
            those that it was written.
    """

    def __init__(
        self,
        options: RunOptions,
        target: Target,
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

    @property
    def writing_for_secs(self) -> float | None:
        """The seconds since the save that is being written was begun; None if there is none."""
        since = self._snapshots.writing_since
        return None if since is None else time.monotonic() - since
