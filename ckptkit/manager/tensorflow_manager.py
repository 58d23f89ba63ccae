"""TensorFlowManager: a run behind the interface of `tf.train.CheckpointManager`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Unpack

import tensorflow as tf

from ckptkit.errors import ConfigError, RunLockedError
from ckptkit.manager.checkpoint_manager import CheckpointManager
from ckptkit.manager.noted_restores import note_restores
from ckptkit.mirror.mirror_settings import mirror_in_place
from ckptkit.policies import KeepEveryNHours, KeepEveryNSteps, KeepLatest, KeepPolicy
from ckptkit.position import whole_number
from ckptkit.session.directory_check import check_directory
from ckptkit.session.options import ManagerOptions, layout_of
from ckptkit.session.unrestored_start import begin_without_restore
from ckptkit.tracking.checkpoint_objects import objects_of
from ckptkit.tracking.state_check import ensure_built
from ckptkit.tracking.strategy_check import job_strategy


class TensorFlowManager(tf.train.CheckpointManager):
    """A `tf.train.CheckpointManager` whose checkpoints are a run of ckptkit.

    It takes the arguments of `tf.train.CheckpointManager`, and programs that check the type accept
    it. Each save is committed, verified and journaled as in every run. `docs/coming-from/` lists
    the differences.

    Args:
        checkpoint: a `tf.train.Checkpoint` of objects that are built.
        directory: the run directory; it is created if it does not exist.
        max_to_keep: how many of the newest checkpoints stay; None keeps all.
        keep_checkpoint_every_n_hours: see `KeepEveryNHours`; None keeps none for that reason.
        checkpoint_name: only `"ckpt"`.
        step_counter: the variable that `checkpoint_interval` looks at.
        checkpoint_interval: the least number of steps between two saves, by `step_counter`.
        init_fn: called by `restore_or_initialize` if there is no checkpoint.
        **options: options of `CheckpointManager`, such as `preemption`, but not `background`.

    Raises:
        ConfigError: If an argument is invalid, or the directory belongs to another program.

    Example:
        >>> import ckptkit, tensorflow as tf
        >>> checkpoint = tf.train.Checkpoint(weight=tf.Variable(0.0))
        >>> manager = ckptkit.TensorFlowManager(checkpoint, "runs/new", max_to_keep=2)
        >>> manager.restore_or_initialize()
        >>> for _ in range(3):
        ...     path = manager.save()
        >>> [path.rpartition("/")[2] for path in manager.checkpoints]
        ['ckpt-2', 'ckpt-3']
        >>> tf.train.latest_checkpoint(manager.directory) == manager.latest_checkpoint
        True
        >>> manager.close()
    """

    def __init__(
        self,
        checkpoint: tf.train.Checkpoint,
        directory: str | os.PathLike[str],
        max_to_keep: int | None,
        keep_checkpoint_every_n_hours: float | None = None,
        checkpoint_name: str = "ckpt",
        step_counter: tf.Variable | None = None,
        checkpoint_interval: int | None = None,
        init_fn: Callable[[], object] | None = None,
        **options: Unpack[ManagerOptions],
    ) -> None:
        # Not the constructor of TensorFlow's class: it reads the directory. Every public method of
        # that class is defined here.
        if not isinstance(checkpoint, tf.train.Checkpoint):
            raise ConfigError(
                "TensorFlowManager takes a tf.train.Checkpoint first, as "
                f"tf.train.CheckpointManager does. Received: {type(checkpoint).__name__}."
            )
        if checkpoint_name != "ckpt":
            raise ConfigError(
                "The checkpoints of a run are named 'ckpt'. Received: "
                f"checkpoint_name={checkpoint_name!r}; leave it out."
            )
        if checkpoint_interval is not None and step_counter is None:
            raise ConfigError("checkpoint_interval counts step_counter. Pass step_counter too.")
        _check_options(options, max_to_keep, keep_checkpoint_every_n_hours)
        options["background"] = False
        if options.get("keep") is None:
            options["keep"] = _keep(max_to_keep, keep_checkpoint_every_n_hours)
        self._manager = CheckpointManager(directory, checkpoint, **options)
        # Before training: the first save would be too late to learn it. A URL names no directory.
        if mirror_in_place(directory) is None:
            check_directory(layout_of(directory))
        self._checkpoint, self._init_fn = checkpoint, init_fn
        self._step_counter, self._interval = step_counter, checkpoint_interval
        self._last_step: int | None = None
        self._held = ""
        note_restores(checkpoint, self._note_held)

    # -- what TensorFlow's class has

    @property
    def checkpoint(self) -> tf.train.Checkpoint:
        """The `tf.train.Checkpoint`."""
        return self._checkpoint

    @property
    def checkpoint_interval(self) -> int | None:
        """The least number of steps between two saves."""
        return self._interval

    @property
    def directory(self) -> str:
        """The directory for `tf.train.latest_checkpoint`, `checkpoints` in the run."""
        return self._manager.directory

    @property
    def checkpoints(self) -> list[str]:
        """The prefixes of all checkpoints, oldest first."""
        return self._manager.checkpoints

    @property
    def latest_checkpoint(self) -> str | None:
        """The prefix of the newest checkpoint, or None."""
        return self._manager.latest_checkpoint

    def restore_or_initialize(self) -> str | None:
        """Restore the newest good checkpoint, or call `init_fn` if there is none.

        Returns:
            The prefix of the restored checkpoint, or None.

        Raises:
            RunLockedError: If another process trains the run. A process that only reads it calls
                `checkpoint.restore(manager.latest_checkpoint)`.
            CheckpointError: As `CheckpointManager.restore_or_initialize`.
        """
        self._check_alone()
        try:
            position = self._manager.restore_or_initialize()
        except RunLockedError as error:
            raise RunLockedError(
                f"{error} restore_or_initialize opens the run for training. To read it only, as an "
                "evaluation does, call checkpoint.restore(manager.latest_checkpoint)."
            ) from error
        restored = self._held = self.latest_checkpoint or ""
        self._checkpoint.save_counter.assign(position.step)
        if not restored:
            adopted = self._manager.open_session().resume.adopted
            if self._init_fn is not None and adopted is None:
                self._init_fn()
        elif self._interval is not None:
            self._last_step = self._counted()
        return restored or None

    def save(
        self,
        checkpoint_number: Any = None,
        check_interval: bool = True,
        options: Any = None,
    ) -> str | None:
        """Save the objects of the checkpoint, and serve a request to stop.

        Args:
            checkpoint_number: the number of the checkpoint; by default the next one.
            check_interval: whether to save only if `checkpoint_interval` steps have passed.
            options: accepted for TensorFlow's sake, and without effect.

        Returns:
            The prefix of the checkpoint; None if the interval has not passed.

        Raises:
            ConfigError: If the number is not larger than that of the newest checkpoint, the
                directory has checkpoints that were not restored, or values with which the run
                begins were not loaded by `restore_or_initialize`.
            CheckpointError: As `CheckpointManager.save`.
            Preempted: After a request to stop, with the state saved.
        """
        if not self._is_due(check_interval):
            return None
        self._open()
        # As TensorFlow does it: the counter goes up with each save, also with a number given.
        counter = self._checkpoint.save_counter
        number = whole_number(int(counter) + 1 if checkpoint_number is None else checkpoint_number)
        if number is None:
            raise ConfigError(
                f"checkpoint_number is a whole number. Received: {checkpoint_number!r}."
            )
        self._manager.save(number)
        counter.assign_add(1)
        self._held = str(self._manager.run.find(number).prefix)
        return self._held

    def sync(self) -> None:
        """Wait until all saves are committed.

        Raises:
            BackgroundSaveError: If a save failed.
        """
        if self._manager.is_open:
            self._manager.wait_until_finished()

    # -- what it does not have

    def close(self) -> None:
        """Close the run; see `CheckpointManager.close`. The end of the program does it too."""
        self._manager.close()

    def _note_held(self, prefix: str) -> None:
        self._held = prefix

    def _is_due(self, check_interval: bool) -> bool:
        if self._interval is None:
            return True
        now = self._counted()
        # A request to stop is served by a save, and does not wait for the interval.
        stop = self._manager.is_open and self._manager.open_session().stopping.requested
        if (
            not stop
            and self._last_step is not None
            and (
                now == self._last_step
                or (check_interval and now < self._last_step + self._interval)
            )
        ):
            return False
        self._last_step = now
        return True

    def _counted(self) -> int:
        return 0 if self._step_counter is None else int(self._step_counter)

    def _open(self) -> None:
        """Open the run, if a program has restored it by `checkpoint.restore` or begins it."""
        if self._manager.is_open:
            return
        self._check_alone()
        newest = self.latest_checkpoint
        if newest is not None and not self._holds(newest):
            raise self._not_restored(newest)
        ensure_built(objects_of(self._checkpoint))
        session = self._manager.open_session()
        try:
            begin_without_restore(session, newest)
        except BaseException as error:
            self._manager.close_session(error)
            raise

    def _check_alone(self) -> None:
        if job_strategy(objects_of(self._checkpoint)) is not None:
            raise ConfigError(
                "TensorFlowManager is not supported for several workers. Use "
                "ckptkit.CheckpointManager(directory, checkpoint), which saves on worker 0 what "
                "all of them have."
            )

    def _holds(self, prefix: str) -> bool:
        return bool(self._held) and os.path.realpath(self._held) == os.path.realpath(prefix)

    def _not_restored(self, newest: str) -> ConfigError:
        return ConfigError(
            f"{self.directory} has checkpoints up to {os.path.basename(newest)}, but the objects "
            f"were not restored from it with this manager. Saving would begin another training "
            "over them. Call manager.restore_or_initialize() before training, or name another "
            "directory."
        )


def _check_options(options: ManagerOptions, newest: int | None, hours: float | None) -> None:
    if options.get("background"):
        raise ConfigError(
            "save returns the path of a complete checkpoint, so it waits until that is written. "
            "Received: background=True; leave it out, or use ckptkit.CheckpointManager."
        )
    if options.get("keep") is not None and (newest is not None or hours is not None):
        raise ConfigError(
            "keep says which checkpoints stay, and so do max_to_keep and "
            "keep_checkpoint_every_n_hours. Expected one of them. Received: keep="
            f"{options['keep']!r}, max_to_keep={newest!r}, keep_checkpoint_every_n_hours={hours!r}."
            " Pass max_to_keep=None, or leave out keep."
        )


def _keep(newest: int | None, hours: float | None) -> KeepPolicy:
    policy: KeepPolicy = KeepEveryNSteps(1) if newest is None else KeepLatest(newest)
    return policy if hours is None else policy | KeepEveryNHours(hours)
