"""The properties of `CheckpointManager` that show its run: checkpoints, steps and position."""

from __future__ import annotations

from ckptkit.manager.session_slot import SessionSlot
from ckptkit.position import RunPosition
from ckptkit.run.stored_run import StoredRun
from ckptkit.session.options import RunOptions


class ManagedRun:
    """The base class of `CheckpointManager` with the properties that show its run."""

    _options: RunOptions
    _slot: SessionSlot

    @property
    def directory(self) -> str:
        """The directory for `tf.train.latest_checkpoint`: `checkpoints` in the run directory."""
        return str(self._options.layout.checkpoints)

    @property
    def checkpoints(self) -> list[str]:
        """The prefixes of all checkpoints, oldest first, as `tf.train.Checkpoint.restore` takes."""
        return [str(checkpoint.prefix) for checkpoint in self.run.checkpoints]

    @property
    def latest_checkpoint(self) -> str | None:
        """The prefix of the newest checkpoint, or None if there is no checkpoint."""
        return next(reversed(self.checkpoints), None)

    @property
    def position(self) -> RunPosition:
        """The position of the run: the finished training, over all attempts.

        Raises:
            ConfigError: If the run is not open.
        """
        return self._slot.opened().position

    @property
    def latest_step(self) -> int | None:
        """The newest checkpoint's step, or None if there is no checkpoint."""
        checkpoints = self.run.checkpoints
        return checkpoints[-1].step if checkpoints else None

    @property
    def all_steps(self) -> list[int]:
        """The steps of all checkpoints, oldest first."""
        return sorted({checkpoint.step for checkpoint in self.run.checkpoints})

    @property
    def run(self) -> StoredRun:
        """The run as it is stored on disk; waits for the save in progress.

        Raises:
            ConfigError: On a worker of a job that is not the first one, which has no run on disk.
        """
        self._slot.check_has_run()
        if self._slot.session is not None:
            self._slot.session.saves.saver.wait()
        return StoredRun(self._options.layout)

    @property
    def is_open(self) -> bool:
        """Whether the run is open for training by this manager."""
        return self._slot.session is not None

    @property
    def is_training(self) -> bool:
        """Whether a loop or a `fit` is running."""
        session = self._slot.session
        return session is not None and not session.phases.is_between_loops
