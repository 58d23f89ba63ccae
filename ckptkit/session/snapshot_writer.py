"""Writing one snapshot after the other, and what became of the newest one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ckptkit.errors import BackgroundSaveError, StorageError
from ckptkit.log import logger, size
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.checkpoint_index import CheckpointIndex
from ckptkit.run.journal import Journal
from ckptkit.run.manifest import Manifest
from ckptkit.session.architecture_saver import ArchitectureSaver
from ckptkit.session.options import RunOptions
from ckptkit.storage.files import NO_SPACE
from ckptkit.tracking import snapshot
from ckptkit.writing.checkpoint_writer import Job, write_checkpoint
from ckptkit.writing.save_target import Target


@dataclass(frozen=True)
class Taken:
    """A snapshot, and what was known when it was taken.

    Args:
        snapshot: the values.
        position: the training that was done.
        metrics: what was measured there.
        secs: how long training stood still for it, in seconds.
        time: when that was, in seconds since the epoch.
    """

    snapshot: snapshot.Snapshot
    position: RunPosition
    metrics: dict[str, float]
    secs: float
    time: float


class SnapshotWriter:
    """Writes snapshots, on the thread on which the jobs run.

    Args:
        options: of the run.
        journal: of the attempt.
        on_saved: called after each commit, with the seconds that training stood still for the
            snapshot, and those that it was written.

    Attributes:
        unsaved: the position of the newest save, if it was not written, for want of space or for
            another reason.
        writing_since: when the save that is being written was begun, on the monotonic clock.
    """

    def __init__(
        self,
        options: RunOptions,
        journal: Journal,
        on_saved: Callable[[Manifest, float, float], None],
    ) -> None:
        self._options, self._journal, self._on_saved = options, journal, on_saved
        index = CheckpointIndex(options.layout, journal.attempt)
        self._target = Target(options.files, index, journal, options.keep)
        self._architectures = ArchitectureSaver(
            options.state, options.files, options.layout, journal
        )
        self.unsaved: RunPosition | None = None
        self.writing_since: float | None = None
        # Of the newest save, if no exception has reported it.
        self._no_space: StorageError | None = None
        self._write_secs: deque[float] = deque(maxlen=3)

    def job(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> Job:
        """Return the job that writes a snapshot.

        Args:
            taken: the snapshot.
            manifest: all that is recorded of it, except for tensors and files.
            must: whether it may not be dropped for a newer one.
            periodic: whether another one follows by itself. A lack of space is then a warning, and
                training continues.
        """
        return Job(
            step=manifest.step,
            run=lambda: self._write(taken, manifest, periodic=periodic),
            must=must,
            drop=lambda reason: self._journal.record(
                events.SaveDropped(step=manifest.step, reason=reason)
            ),
        )

    def _write(self, taken: Taken, manifest: Manifest, *, periodic: bool) -> None:
        began = self.writing_since = time.monotonic()
        try:
            manifest = replace(manifest, states=self._architectures.named(manifest.states))
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

    def _note_no_space(self, position: RunPosition, error: StorageError) -> None:
        """Warn that a save that fell due found no space.

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
        """Seconds that a save takes to be written, by the fastest of the last three; or None."""
        return min(self._write_secs, default=None)

    def check_space(self) -> None:
        """Check that the newest save found space.

        Raises:
            BackgroundSaveError: If it did not.
        """
        if self._no_space is not None:
            raise BackgroundSaveError(
                f"The newest save, at {self.unsaved}, was not written: {self._no_space} The "
                "checkpoints from before it are "
                f"untouched.",
                self._no_space,
            ) from self._no_space

    def withdraw(self) -> None:
        """Have nothing committed any more, of what is being written too."""
        self._target.permit.withdraw()
