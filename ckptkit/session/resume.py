"""Resumes a run: selects the newest good checkpoint, checks it, and restores it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ckptkit.errors import CorruptCheckpointError
from ckptkit.position import RunPosition
from ckptkit.restore.assign import assign_result, read_state
from ckptkit.restore.newest_checkpoint import newest_good, restore_one
from ckptkit.restore.verification import (
    damage_by_file,
    verify_before_reading,
    verify_before_restore,
)
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.quarantine import quarantine
from ckptkit.session.exactness import Exactness
from ckptkit.session.hyperparameter_resolution import HyperparameterConflicts
from ckptkit.session.launcher_client import launcher_verdict
from ckptkit.session.new_run import begin_new_run, named_values
from ckptkit.session.options import RunOptions
from ckptkit.session.tracked_state import TrackedState

if TYPE_CHECKING:
    from ckptkit.layout import CheckpointName
    from ckptkit.load.adoption import AdoptionReport
    from ckptkit.run.journal import Journal
    from ckptkit.session.stopwatch import Stopwatch


class Resume:
    """Finds the checkpoint from which a run continues, and restores it.

    It sets no position and no policy: the session does that with the returned checkpoint.

    Args:
        options: the options of the run.
        journal: the journal of the attempt.
        tracked: the state to restore.
        changes: compares and applies hyperparameters.
        exactness: reports a checkpoint that other library versions wrote.
        stopwatch: the stopwatch of the session.

    Attributes:
        workers: how many workers have saved what is restored here.
        adopted: what a new run has taken over from another system, or None.
        has_loaded: whether this session has begun the run with values that `init_from` or `adopt`
            names, which may not be loaded again over what was trained since.
        constants_changed: whether the last restore has changed constants of layers. If so, a traced
            step has to be traced again.
    """

    def __init__(
        self,
        options: RunOptions,
        journal: Journal,
        tracked: TrackedState,
        changes: HyperparameterConflicts,
        exactness: Exactness,
        stopwatch: Stopwatch,
    ) -> None:
        self._options, self._journal, self._tracked = options, journal, tracked
        self.changes, self._exactness, self._stopwatch = changes, exactness, stopwatch
        self._passed_over: dict[CheckpointName, str] = {}
        self.workers = 1
        self.constants_changed = False
        self.adopted: AdoptionReport | None = None
        self.has_loaded = False

    def newest(self, *, is_read_next: bool = False) -> Checkpoint | None:
        """Return the newest checkpoint that passes verification, or None for a new run.

        Args:
            is_read_next: whether the caller reads all its values before it changes anything, and
                can still use an earlier checkpoint then; see `verify_before_reading`.

        Raises:
            CorruptCheckpointError: If the run has saved before, and no checkpoint can be read.
            StorageError: If the disk refuses.
        """
        options = self._options
        verify = verify_before_reading if is_read_next else verify_before_restore
        with self._stopwatch.during("restoring"):
            return newest_good(
                options.files,
                options.layout,
                self._journal,
                partial(verify, depth=options.verify, verdict=launcher_verdict()),
                self._passed_over,
            )

    def restore_newest(self) -> Checkpoint | None:
        """Restore the newest good checkpoint.

        If TensorFlow cannot read it, it is moved to quarantine, and the one before it is restored.

        Returns:
            The checkpoint that was restored, or None for a new run.
        """
        while (checkpoint := self.newest(is_read_next=True)) is not None:
            self.changes.check(checkpoint)
            try:
                self.restore(checkpoint)
                return checkpoint
            except CorruptCheckpointError as error:
                self._quarantine(checkpoint, damage_by_file(checkpoint, error))
        self.changes.check(None)
        self._tracked.note_constructed()
        self._tracked.attributes.report()
        return None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore one checkpoint, and apply changed hyperparameters.

        Raises:
            CorruptCheckpointError: If it cannot be read; nothing was assigned.
            IncompatibleStateError: If the program's state does not match the checkpoint; nothing
                was assigned.
            ConfigError: If exactness is required, and other library versions, or a program with
                another number of replicas, wrote the checkpoint.
        """
        self._exactness.check_workers(checkpoint, self.workers)
        self._exactness.check_versions(checkpoint)
        self._exactness.check_replicas(checkpoint, self._tracked.replicas)
        began = time.monotonic()
        # Read before anything changes: settings of layers, which would have to be restored if an
        # earlier checkpoint is used instead.
        with self._stopwatch.during("restoring"):
            values = read_state(checkpoint)
        # Before the state is restored: a traced step contains optimizer arguments as constants.
        self.changes.apply()
        self._tracked.note_constructed()
        self._tracked.attributes.report()
        try:
            with self._stopwatch.during("restoring"):
                self.restore_settings(self._tracked.moved_settings(checkpoint))
                adapted = self.restore_adapted(checkpoint)
                refreshed = restore_one(
                    self._journal,
                    checkpoint,
                    self._tracked.now(),
                    self._options.state,
                    values,
                    began,
                )
        except BaseException:
            self.changes.undo()
            self._tracked.adapted.undo()
            raise
        self._tracked.data.resumed_from(checkpoint.manifest)
        self.constants_changed = adapted or refreshed
        self._tracked.adapted.done()
        self.changes.remember(self._journal)

    def restore_settings(self, moved: dict[str, dict[str, Any]]) -> None:
        """Change layers, optimizers and arguments of `compile` as training had changed them.

        Args:
            moved: the settings, from a checkpoint.

        Raises:
            IncompatibleStateError: If a layer cannot be changed in the same way.
            ConfigError: If exactness is required, and a setting cannot be restored.
        """
        settings = self._tracked.attributes.settings
        for reason in settings.apply(moved, code_counts=self.changes.settled_by_code):
            self._exactness.inexact(reason)

    def restore_adapted(self, checkpoint: Checkpoint) -> bool:
        """Restore the learned state of preprocessing layers, before a step is traced.

        Returns:
            Whether a layer has changed. If so, traced functions have to be traced again.

        Raises:
            CorruptCheckpointError, IncompatibleStateError: as `restore`.
            ConfigError: If exactness is required, and an earlier version of ckptkit saved the
                checkpoint without these values.
        """
        tracked = self._tracked.now()
        missing = self._tracked.adapted.not_saved(checkpoint, tracked)
        if missing:
            self._exactness.inexact(
                "an earlier version of ckptkit saved this run without the learned state of "
                f"preprocessing layers ({', '.join(missing)}); they keep the program's values"
            )
        return self._tracked.adapted.apply(checkpoint, tracked)

    def undo_adapted(self) -> None:
        """Restore the previous state of preprocessing layers, because the resume failed."""
        self._tracked.adapted.undo()

    @contextmanager
    def reading(self, checkpoint: Checkpoint) -> Iterator[None]:
        """Read a checkpoint in the block, when it is too late to use an earlier one instead.

        If it cannot be read, it is moved to quarantine, so that the next start uses an earlier one.

        Raises:
            CorruptCheckpointError: If the checkpoint cannot be read.
        """
        try:
            yield
        except CorruptCheckpointError as found:
            error = damage_by_file(checkpoint, found)
            where = (
                f"It was moved to {self._options.layout.quarantine}"
                if self._quarantine(checkpoint, error)
                else f"It could not be moved away: move {checkpoint.path} yourself"
            )
            raise CorruptCheckpointError(
                f"{error} {where}, and nothing was assigned. Start again: the run resumes from the "
                "checkpoint before it.",
                error.damage,
                error.file,
            ) from found

    def _quarantine(self, checkpoint: Checkpoint, error: CorruptCheckpointError) -> bool:
        options = self._options
        moved = quarantine(options.files, options.layout, self._journal, checkpoint, error)
        if moved is None:
            self._passed_over[checkpoint.name] = str(error)
        return moved is not None

    def assign_result(self, checkpoint: Checkpoint) -> None:
        """Assign the weights at the end of training to the models.

        A resume needs other weights if Keras put averages or the best weights in their place at
        the end.
        """
        assign_result(checkpoint, self._tracked.now())

    def start_position(self, checkpoint: Checkpoint | None) -> RunPosition:
        """Return the position of a checkpoint; without one, begin a new run.

        Raises:
            ConfigError, IncompatibleStateError, CheckpointNotFoundError, CorruptCheckpointError: If
                the run cannot begin with the weights that `init_from` names.
        """
        if checkpoint is None:
            users = self._tracked.tracker.users
            loads = named_values(self._options) is not None
            self.adopted = begin_new_run(self._options, users, self._journal)
            self.has_loaded = loads
            if self.adopted is None:
                return RunPosition()
            return RunPosition(self.adopted.step, self.adopted.epoch or 0)
        return checkpoint.manifest.position
