"""Writes the snapshots of a session to disk, and remembers the result of the newest one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ckptkit.errors import BackgroundSaveError, StorageError
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.manifest import Manifest
from ckptkit.run.save_target import SaveContext
from ckptkit.session.architecture_saver import ArchitectureSaver
from ckptkit.session.options import RunOptions
from ckptkit.session.size_log import log_size
from ckptkit.storage.files import NO_SPACE
from ckptkit.tracking import snapshot
from ckptkit.writing.checkpoint_writer import (
    TRANSIENT_ERRNOS,
    Job,
    drop_tracebacks,
    write_checkpoint,
)
from ckptkit.writing.incremental_bundle import IncrementalBundle, PlannedBundle
from ckptkit.writing.write_times import WriteTimes

if TYPE_CHECKING:
    from ckptkit.session.worker_saves import ExpectedParts, PartCollector

REFUSED_SECS = 600
"""The time for which periodic saves may fail with temporary errors before training ends."""


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


class SnapshotTaker(Protocol):
    """What a saver passes its snapshots to; see `SnapshotWriter` for the meaning of each."""

    unsaved: RunPosition | None
    unwritten: Taken | None
    failed_saves: int
    writing_since: float | None

    @property
    def is_shared(self) -> bool: ...
    @property
    def write_secs(self) -> float | None: ...
    def write_secs_for(self, taken: snapshot.Snapshot) -> float | None: ...
    def job(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> Job: ...
    def check_space(self) -> None: ...
    def withdraw(self) -> None: ...


class SnapshotWriter:
    """Makes the jobs that write snapshots, and keeps the result of the newest one.

    Args:
        options: the options of the run.
        target: the files and policies with which checkpoints are written.
        on_saved: called after each commit with the bytes that earlier checkpoints do not have, and
            two durations in seconds: how long training stopped for the snapshot, and how long it
            was written.

    Attributes:
        collector: adds the parts of the other workers of the job; None if there are none.
        unsaved: the position of the newest save if it could not be written, else None.
        unwritten: its snapshot, until the next one is taken.
        failed_saves: the number of periodic saves that failed since the newest one that succeeded.
        writing_since: when the save in progress began, on the monotonic clock.
    """

    def __init__(
        self,
        options: RunOptions,
        target: SaveContext,
        on_saved: Callable[[Manifest, int, float, float], None],
    ) -> None:
        self._options, self._target, self._on_saved = options, target, on_saved
        self._architectures = ArchitectureSaver(
            options.state, options.files, options.layout, target.journal
        )
        self._bundle = IncrementalBundle()
        self._has_warned = False  # about weights that are not finite
        self._is_finite = False  # all weights of the newest checkpoint
        self.collector: PartCollector | None = None
        self.unsaved: RunPosition | None = None
        self.unwritten: Taken | None = None
        self.failed_saves = 0
        self.writing_since: float | None = None
        self._times = WriteTimes()
        # The failure of the newest save, until an exception has reported it.
        self._refused: StorageError | None = None
        self._refused_since: float | None = None  # the first failure since the last success

    def job(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> Job:
        """Return the job that writes a snapshot.

        Args:
            taken: the snapshot.
            manifest: its manifest, without tensors and files.
            must: whether the snapshot must be written even if a newer one is waiting.
            periodic: whether another save follows by itself; if so, a lack of space is only a
                warning, and so is a temporary failure that lasts less than ten minutes.
        """
        # Numbered here, on the training thread, in the order in which all workers save.
        parts = self.collector.expect(taken.position) if self.collector else None
        return Job(
            step=manifest.step,
            run=lambda: self._write_all(taken, manifest, parts, periodic=periodic),
            must=must or parts is not None,
            drop=lambda reason: self._target.journal.record(
                events.SaveDropped(step=manifest.step, reason=reason)
            ),
        )

    def _write_all(
        self, taken: Taken, manifest: Manifest, parts: ExpectedParts | None, *, periodic: bool
    ) -> None:
        """Write a snapshot with the parts of all workers, which learn how that ended."""
        if parts is None:
            self._write(taken, manifest, periodic=periodic)
            return
        try:
            self._write(parts.complete(taken), manifest, periodic=periodic)
        except BaseException as raised:
            self.unsaved = taken.position
            parts.report(raised)
            raise
        # After a lack of space, training continues as it does without other workers.
        parts.report(self._refused, continues=self._refused is not None)

    def _write(self, taken: Taken, manifest: Manifest, *, periodic: bool) -> None:
        began = self.writing_since = time.monotonic()
        try:
            planned = self._bundle.plan(taken.snapshot)
            manifest = replace(
                manifest,
                states=self._architectures.named(manifest.states),
                not_finite=self._not_finite(taken.snapshot, planned),
            )
            self._warn_not_finite(manifest)
            written, new_bytes = write_checkpoint(
                self._target, planned, taken.snapshot, manifest, taken.secs, taken.time
            )
        except BaseException as error:
            self.unsaved, self.unwritten, self._refused = taken.position, taken, None
            if not periodic or not isinstance(error, StorageError) or self._is_too_bad(error):
                raise
            self._note_refused(taken.position, error)
            return
        finally:
            self.writing_since = None
        self.unsaved = self.unwritten = self._refused = self._refused_since = None
        self.failed_saves = 0
        self._is_finite = not written.not_finite
        if not self._times:
            log_size(self._options.keep, written)
        secs = time.monotonic() - began
        self._times.add(secs, new_bytes)
        self._on_saved(written, new_bytes, taken.secs, secs)

    def _not_finite(self, taken: snapshot.Snapshot, planned: PlannedBundle) -> tuple[str, ...]:
        """Return the paths of variables with NaN or infinity; see `snapshot.not_finite`."""
        known = planned.unchanged if self._is_finite else frozenset()
        # True again only if all of this save succeeds: it is committed before that is known here.
        self._is_finite = False
        return snapshot.not_finite(taken, known)

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

    def _is_too_bad(self, error: StorageError) -> bool:
        """Return whether a failure of a periodic save ends training."""
        if error.errno in NO_SPACE:
            return False
        # Storage in a network is away now and then for seconds. With a save every ten seconds, each
        # time would meet one, and training is worth more than that save.
        now = self._options.clock.monotonic()
        since = self._refused_since
        return error.errno not in TRANSIENT_ERRNOS or (
            since is not None and now - since >= REFUSED_SECS
        )

    def _note_refused(self, position: RunPosition, error: StorageError) -> None:
        """Warn that a periodic save failed.

        The next save tries again. The save at the end of training raises an error if it fails too.
        """
        drop_tracebacks(error)
        self._refused = error
        self.failed_saves += 1
        if self._refused_since is None:
            self._refused_since = self._options.clock.monotonic()
        logger.warning(
            "NOT SAVED at %s, and training continues. Earlier checkpoints are untouched, and the "
            "next save tries again: %s",
            position,
            error,
        )

    # -- on the training thread

    @property
    def is_shared(self) -> bool:
        """Whether the workers of a job save together."""
        return self.collector is not None

    @property
    def write_secs(self) -> float | None:
        """The seconds to write a save that shares nothing; None before the first save."""
        return self._times.whole_secs

    def write_secs_for(self, taken: snapshot.Snapshot) -> float | None:
        """Return the seconds to write a snapshot, by what has changed since the newest save.

        Args:
            taken: the snapshot.
        """
        return self._times.secs_for(self._bundle.expected_bytes(taken))

    def check_space(self) -> None:
        """Check that the newest save did not fail with only a warning.

        Raises:
            BackgroundSaveError: If it did.
        """
        if self._refused is not None:
            raise BackgroundSaveError(
                f"The newest save, at {self.unsaved}, was not written. Earlier checkpoints are "
                f"untouched. The reason: {self._refused}",
                self._refused,
            ) from self._refused

    def withdraw(self) -> None:
        """Forbid all further commits, including the commit of the save in progress."""
        self._target.permit.withdraw()
