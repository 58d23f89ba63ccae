"""CheckpointManager: the public class for custom training loops."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Unpack

import tensorflow as tf

from ckptkit.errors import CheckpointNotFoundError, ConfigError
from ckptkit.manager.argument_checks import (
    check_durable,
    check_no_template,
    check_not_in_function,
    check_step,
    number_to_save,
    objects_check,
    state_argument,
)
from ckptkit.manager.loop_methods import TrainingLoops
from ckptkit.manager.managed_run import ManagedRun
from ckptkit.manager.session_slot import SessionSlot
from ckptkit.position import RunPosition
from ckptkit.restore.verification import verify_before_restore
from ckptkit.run.checkpoint_catalog import Checkpoint, list_names
from ckptkit.session.closing import is_orderly_exit
from ckptkit.session.launcher_failure_report import reports_failure
from ckptkit.session.options import CallbackOptions, ManagerOptions, make_options, takes_options
from ckptkit.session.run_completion import check_finished_by
from ckptkit.session.session import Session
from ckptkit.tracking.state_check import check_state, ensure_built
from ckptkit.tracking.strategy_check import check_alone, check_fit_alone, check_strategies


@takes_options(CallbackOptions, ManagerOptions)
class CheckpointManager(TrainingLoops, ManagedRun):
    """Saves and resumes a training run in a custom training loop.

    The constructor opens nothing. `with manager:` opens the run and restores the newest good
    checkpoint; the end of the block closes it.

    Args:
        directory: the run directory; it is created if it does not exist. Or the URL of a place on
            an object store, such as `"s3://bucket/runs/x"`, to which the run is copied; its
            directory is then a cache below `CKPTKIT_CACHE` or `~/.cache/ckptkit`.
        state: all objects that training changes, by name, or a `tf.train.Checkpoint` of them:
            Keras models (built) and optimizers, tf.Variables, tf.Modules, iterators of tf.data,
            random generators, lookup tables, objects with `get_state()`/`set_state(state)` or
            `state_dict()`/`load_state_dict(state)`.
        {options}

    Raises:
        ConfigError: If an argument is invalid.

    Example:
        >>> import ckptkit, tensorflow as tf
        >>> weight = tf.Variable(0.0)
        >>> manager = ckptkit.CheckpointManager(
        ...     "runs/new",
        ...     state={"weight": weight},
        ...     save=ckptkit.EveryNSteps(2),
        ...     keep=ckptkit.KeepLatest(2),
        ... )
        >>> with manager:
        ...     for step in manager.steps(5):
        ...         manager.log(weight=weight.assign_add(1.0))
        >>> manager.all_steps
        [4, 5]
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        state: Mapping[str, Any] | tf.train.Checkpoint,
        **options: Unpack[ManagerOptions],
    ) -> None:
        objects = state_argument(directory, state)
        check_state(objects)
        check_no_template(directory)
        self._options = replace(
            make_options(directory, objects, **options),
            check_objects=objects_check(state, objects),
        )
        self._slot = SessionSlot(self._options)

    def __repr__(self) -> str:
        options, names = self._options, ", ".join(self._options.state)
        return (
            f"CheckpointManager({str(options.layout.root)!r}, state: {names}, "
            f"save={options.save!r}, keep={options.keep!r})"
        )

    # -- opening and closing

    def __enter__(self) -> CheckpointManager:
        self.restore_or_initialize()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave(error)

    def restore_or_initialize(self) -> RunPosition:
        """Open the run and restore its newest good checkpoint.

        Returns:
            The position from which the run continues; `step` is 0 for a new run.

        Raises:
            IncompatibleStateError: If the state does not match the checkpoint; nothing was
                assigned.
            CorruptCheckpointError: If the run has earlier checkpoints, but none of them can be
                read.
            RunLockedError: If another process, or another loop of this one, trains the run.
            StorageError: If the disk refuses.
            ConfigError: If a model is not built, the state belongs to a strategy of `tf.distribute`
                that is not supported, or the directory belongs to another program. Also if
                hyperparameters differ from the run's, the run cannot be exact although
                `exact="require"`, or this process has finished the run with other objects. Also
                inside a tf.function.
            Preempted: If this call closes another manager of this process that was asked to stop.
        """
        check_not_in_function("restore_or_initialize")
        self._prepare_state()
        session = self._slot.open(self, {})
        try:
            if list_names(self._options.layout):
                check_finished_by(self._options.layout, self._options.state)
            return session.restore_newest()
        except BaseException as error:
            self.close_session(error)
            raise

    def _prepare_state(self) -> None:
        """Build optimizers before the run is opened, so that an error changes nothing on disk.

        Raises:
            ConfigError: If an object is not built, or is spread over several devices.
        """
        # Checked first: under a strategy, Keras builds an optimizer only in the scope of the
        # strategy.
        with reports_failure():  # otherwise a launcher would restart the same program
            if self._options.check_objects is not None:
                self._options.check_objects()
            check_strategies(self._options.state)
            ensure_built(self._options.state)

    def restore(self, step: int | None = None) -> RunPosition:
        """Restore one checkpoint and continue from it; open the run if it is not open.

        If that fails, a run that this call has opened is closed again.

        Args:
            step: the step of the checkpoint; by default the newest good one. A damaged checkpoint
                is moved to `quarantine/` and logged.

        Returns:
            The position from which the run continues.

        Raises:
            CheckpointNotFoundError: If the run has no checkpoint, or none of this step.
            CorruptCheckpointError: If its files are damaged, or no checkpoint can be read; nothing
                was assigned.
            IncompatibleStateError: If the state does not match the checkpoint; nothing was
                assigned.
            RunLockedError: If another process, or another loop of this one, trains the run.
            StorageError: If the disk refuses.
            ConfigError: If a model is not built, hyperparameters differ from the run's, or the run
                cannot be exact although `exact="require"`. Also inside a tf.function.
            Preempted: If this call closes a session of this process that was asked to stop.
        """
        check_not_in_function("restore")
        self._prepare_state()
        check_alone(self._options.state)
        was_open = self.is_open
        if self._options.mirror is not None and step is None and not was_open:
            wanted = None  # the checkpoints may be on the object store: opening the run fetches one
        else:
            wanted = None if step is None else self._verified(step)
            self._check_has_checkpoints()  # before anything is created on disk
            self._close_if_saved_after(wanted)
            was_open = self.is_open
        session = self._slot.open(self, {})
        try:
            if wanted is None:
                self._check_has_checkpoints()  # a fresh start has moved the checkpoints away
                return session.restore_newest()
            session.resume.changes.check(wanted)
            return session.restore(wanted)
        except BaseException as error:
            if not was_open:
                self.close_session(error)
            raise

    def _close_if_saved_after(self, checkpoint: Checkpoint | None) -> None:
        """Close the run if it is open and has saved a later step than the checkpoint's.

        The next saves have lower steps than earlier ones of this attempt, but must count as newer.
        For that they need a new attempt number, which the run gets when it is opened again.
        """
        session = self._slot.session
        if session is None or checkpoint is None:
            return
        if session.saves.has_saved_after(checkpoint):
            session.saves.discard()
            self.close_session(None)

    def _check_has_checkpoints(self) -> None:
        if not self.run.checkpoints:
            raise CheckpointNotFoundError(
                f"{self.run.directory} contains no checkpoint to restore. To begin a new run, use "
                f"`with manager:` or manager.restore_or_initialize()."
            )

    def _verified(self, step: int) -> Checkpoint:
        return verify_before_restore(self.run.find(step), self._options.verify)

    def close(self) -> None:
        """Close the run after the save in progress; the end of `with manager:` does the same.

        Saves what a loop left by `break` or `sys.exit()` had done, as `steps` describes; saves
        nothing while an exception is being handled. A request to stop that no turn has met is
        served here.

        Raises:
            ConfigError: Inside a tf.function.
            StorageError: If the disk refuses; earlier checkpoints are untouched, and the run is
                closed.
            BackgroundSaveError: If a save failed in the background since the last check.
            Preempted: After a request to stop, with the state saved.
        """
        check_not_in_function("close")
        self._leave(sys.exc_info()[1])

    def _leave(self, error: BaseException | None) -> None:
        if (lost := self._slot.loss_behind(error)) is not None:
            self.close_session(lost)
            raise lost from error
        # sys.exit() leaves a loop in the same way as break.
        self.close_session(None if is_orderly_exit(error) else error)

    def __getstate__(self) -> dict[str, Any]:
        if self.is_open:
            raise ConfigError(
                f"This CheckpointManager has the run in {self._options.layout.root} open. Its "
                f"lock, signal handlers and position belong to this process and cannot be copied "
                f"or pickled. Copy it before it is used, or create a second one."
            )
        return {name: value for name, value in self.__dict__.items() if name != "_slot"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A copy has no session; it opens the run itself.
        self._slot = SessionSlot(self._options)

    # -- saving

    def save(
        self,
        step: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        *,
        checkpoint_number: int | None = None,
        durable: str = "local",
    ) -> bool:
        """Save the current state now, regardless of the policy, and serve a request to stop.

        Args:
            step: training batches done since the run began. By default the next number after the
                run's; a loop over `steps`, `epochs` or `data` has to pass it.
            checkpoint_number: another name of `step`.
            metrics: what was measured at this step; numbers or scalar tensors.
            durable: `"local"` (default) leaves the rest to background threads; `"remote"` waits
                until the checkpoint is on the object store of the run's mirror.

        Returns:
            True.

        Raises:
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            BackgroundSaveError: If a save failed in the background since the last check; this
                step is not saved then, unless a stop was requested. Also if the upload failed.
            RunLockedError: If another machine has taken the run on the object store.
            ConfigError: If the run is not open, the step lies before the run's, or the turn of a
                later step has trained already. Also if `durable` is `"remote"` without a mirror.
            Preempted: After a request to stop, with the state saved.
        """
        check_not_in_function("save")
        check_durable(durable, self._options.mirror)
        session = self._slot.opened()
        step = number_to_save(step, checkpoint_number, session)
        session.loop.advance_to(step, metrics)
        if session.team is not None:
            session.team.meet("manager.save")
        # After a request to stop, this is the last chance to save; `serve` raises that error then.
        if not session.stopping.requested:
            session.saves.saver.check()
        session.saves.save("asked for")
        if durable == "remote":
            session.confirm_on_store(None)
        session.stopping.serve()
        if session.team is not None:
            session.team.look_ahead()
        return True

    def maybe_save(self, step: int, metrics: Mapping[str, Any] | None = None) -> bool:
        """Save if the policy says so, and serve a request to stop.

        Args:
            step: training batches done since the run began.
            metrics: what was measured at this step; numbers or scalar tensors.

        Returns:
            Whether a save was due. If there is no space, that is a warning, and the next save tries
                again. So is a temporary error of storage that lasts less than ten minutes.

        Raises:
            StorageError: If the disk refuses for another reason; earlier checkpoints are untouched.
            ConfigError: If the run is not open, the step lies before the run's, or the turn of a
                later step has trained already.
            Preempted: After a request to stop, with the state saved.
        """
        check_not_in_function("maybe_save")
        session = self._slot.opened()
        session.loop.advance_to(check_step(step), metrics)
        due = session.save_if_due()
        session.loop.between_turns()
        return due

    def wait_until_finished(
        self, timeout_secs: float | None = None, *, durable: str = "local"
    ) -> None:
        """Wait until all saves are committed.

        Args:
            timeout_secs: the longest time to wait, in seconds; None for no limit.
            durable: `"local"` (default) waits for the run directory; `"remote"` also waits until
                the newest checkpoint is on the object store of the run's mirror.

        Raises:
            BackgroundSaveError: If a save failed in the background, there was no space for the
                newest one, or it could not be uploaded in time.
            RunLockedError: If another machine has taken the run on the object store.
            ConfigError: If the run is not open, or inside a tf.function. Also if `durable` is
                `"remote"` without a mirror.
        """
        check_not_in_function("wait_until_finished")
        check_durable(durable, self._options.mirror)
        session = self._slot.opened()
        if durable == "remote":
            session.confirm_on_store(timeout_secs)
        else:
            session.saves.saver.confirm(timeout_secs)

    # -- for CheckpointCallback

    def open_session(self, extra_state: Mapping[str, Any] | None = None) -> Session:
        """Open the run without restoring anything; `CheckpointCallback` uses it in `fit`.

        Args:
            extra_state: further state to save; the run must not be open yet.

        Raises:
            ConfigError: If the run is already open, `state` has another object under a name of
                `extra_state`, or the state belongs to a strategy that `fit` is not supported with.
            RunLockedError: If the run is being trained.
            StorageError: If the disk refuses.
        """
        extra = extra_state or {}
        # Only this: Keras builds what `fit` trains.
        with reports_failure():
            check_strategies({**self._options.state, **extra})
            check_fit_alone({**self._options.state, **extra})
        return self._slot.open(self, extra)

    def close_session(self, error: BaseException | None) -> None:
        """Close the run if it is open; `error` is the error that ended training, if any."""
        self._slot.close(self, error)
