"""CheckpointManager: wiring only; each piece of work has its own place."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import tensorflow as tf

from ckptkit.clock import Clock
from ckptkit.errors import CheckpointNotFoundError, ConfigError
from ckptkit.log import show_by_default
from ckptkit.manager import loops
from ckptkit.policies import KeepPolicy, SavePolicy
from ckptkit.position import RunPosition
from ckptkit.preemption.policy import Preemption
from ckptkit.restore.newest_checkpoint import verify_before_restore
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.stored_run import StoredRun
from ckptkit.run.verify import Depth
from ckptkit.session import open_managers, remote_control
from ckptkit.session.finished_runs import check_finished_by
from ckptkit.session.options import make_plan
from ckptkit.session.session import Session, is_orderly_exit
from ckptkit.storage.files import FileSystem
from ckptkit.tracking.state_check import check_state, ensure_built
from ckptkit.workers.cluster import check_one_worker

Batch = TypeVar("Batch")


class CheckpointManager:
    """Saves and resumes a training run in a loop of your own.

    Making one does nothing yet. `with manager:` opens the run and restores the newest good
    checkpoint; leaving the block closes it.

    Args:
        directory: the run directory; it is made where there is none.
        state: everything that the run depends on, by name: Keras models (built) and optimizers,
            tf.Variables, tf.Modules, iterators of tf.data, random generators, lookup tables,
            objects with `get_state()`/`set_state(state)` or
            `state_dict()`/`load_state_dict(state)`.
        save: when to save; by default `EveryNSeconds(600) | EveryNEpochs(1, min_secs=60)`, and
            always at the end.
        keep: which checkpoints stay; by default `KeepLatest(2)`.
        preemption: what is done when the process is told to stop; by default `Preemption()`.
        background: whether a save is written on a thread of its own while training goes on
            (default), or on the calling thread.
        hparams: your own hyperparameters by name; they are recorded, and compared at each start.
        changed: where the code configures another value than the run had, which counts:
            `{"learning_rate": "code"}` or `"checkpoint"`.
        exact: what happens where the run cannot go on bit for bit after an interruption: `"warn"`
            (default) says why, `"require"` is an error, `"off"` says nothing.
        verify: how thoroughly a checkpoint is verified before it is restored: `"full"` reads every
            byte, `"quick"` compares sizes and reads the index, `"auto"` (default) reads everything
            for as long as that takes less than a second per GB.
        fresh: a label. Under a label that is new to this run, earlier lives are moved to
            `<run>/aside/` and step 0 begins; later starts with the same label go on with the life
            that it began.
        tensorboard: the directory with the event files that the program writes, as the `log_dir` of
            `keras.callbacks.TensorBoard`. Where the run goes on, points that were written after the
            restored checkpoint are taken out of them, in all directories below; the files of before
            stay there under names that TensorBoard does not read. What cannot be done is said, and
            costs no training. Runs that one process
            trains at the same time cannot be told apart there: give each a directory of its own, as
                `"logs/<run>"`.
        clock: where the time comes from; for tests.
        files: how the disk is changed; for tests.

    Raises:
        ConfigError: where an argument cannot be right.

    Example:
        >>> import ckptkit, tensorflow as tf
        >>> weight = tf.Variable(0.0)
        >>> manager = ckptkit.CheckpointManager(new_directory, state={"weight": weight}, save=ckptkit.EveryNSteps(2))
        >>> with manager:
        ...     for step in manager.steps(5):
        ...         manager.log(weight=weight.assign_add(1.0))
        >>> manager.all_steps
        [4, 5]
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        state: Mapping[str, Any],
        *,
        save: SavePolicy | None = None,
        keep: KeepPolicy | None = None,
        preemption: Preemption | None = None,
        background: bool = True,
        hparams: Mapping[str, Any] | None = None,
        changed: Mapping[str, str] | None = None,
        exact: str = "warn",
        verify: Depth = "auto",
        fresh: str | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        files: FileSystem | None = None,
    ) -> None:
        check_state(state)
        self._plan = make_plan(
            directory,
            state,
            save=save,
            keep=keep,
            preemption=preemption,
            background=background,
            hparams=hparams,
            changed=changed,
            exact=exact,
            verify=verify,
            fresh=fresh,
            tensorboard=tensorboard,
            clock=clock,
            files=files,
        )
        self._attempt: Session | None = None

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
        """Opens the run and restores its newest good checkpoint.

        Returns:
            Where the run goes on; `step` is 0 on a new run.

        Raises:
            IncompatibleStateError: where the state has another form than the checkpoint's; nothing
                was assigned.
            CorruptCheckpointError: where there is an earlier life of this run, and nothing of it
                can be read.
            RunLockedError: where another process, or another loop of this one, trains the run.
            StorageError: where the disk refuses.
            ConfigError: where a model is not built, the directory belongs to another program,
                hyperparameters differ from the run's, exactness was required and cannot be, this
                process has finished the run with other objects, or it is called inside a
                tf.function.
            Preempted: where another manager of this process is closed for this one, and was asked
                to stop.
        """
        _not_in_function("restore_or_initialize")
        ensure_built(self._plan.state)
        attempt = self.open_attempt()
        try:
            if self.run.checkpoints:
                check_finished_by(self._plan.layout, self._plan.state)
            return attempt.restore_newest()
        except BaseException as error:
            self.let_go(error)
            raise

    def restore(self, step: int | None = None) -> RunPosition:
        """Restores one checkpoint, and opens the run for going on from there where it is not open.
        Where it fails, a run that was not open is let go of again.

        Args:
            step: which; by default the newest good one: a damaged one is moved to `quarantine/`,
                and said.

        Returns:
            Where the run goes on.

        Raises:
            CheckpointNotFoundError: where there is none, or none of this step.
            CorruptCheckpointError: where its files are damaged, or nothing of the run can be read;
                nothing was assigned.
            IncompatibleStateError: where the state has another form; nothing was assigned.
            RunLockedError: where another process, or another loop of this one, trains the run.
            StorageError: where the disk refuses.
            ConfigError: where a model is not built, hyperparameters differ from the run's,
                exactness was required and cannot be, or it is called inside a tf.function.
            Preempted: where this attempt, or another manager of this process, is closed for this
                and was asked to stop.
        """
        _not_in_function("restore")
        ensure_built(self._plan.state)
        asked = None if step is None else self._verified(step)
        self._check_there()  # before anything is made
        was_open = self._attempt is not None
        if self._attempt is not None and asked is not None and self._attempt.has_saved_after(asked):
            # What is saved from here on is newer than what this attempt has saved already, and only
            # another attempt says so.
            self._attempt.abandon()
            self.let_go(None)
            was_open = False
        attempt = self.open_attempt()
        try:
            if asked is None:
                self._check_there()  # a fresh start has set it aside
                return attempt.restore_newest()
            attempt.changes.check(asked)
            return attempt.restore(asked)
        except BaseException as error:
            if not was_open:
                self.let_go(error)
            raise

    def _check_there(self) -> None:
        if not self.run.checkpoints:
            raise CheckpointNotFoundError(
                f"{self.run.directory} holds no checkpoint that could be restored. To begin a run "
                "where there is none, "
                f"use `with manager:` or manager.restore_or_initialize()."
            )

    def _verified(self, step: int) -> Checkpoint:
        checkpoint = self.run.find(step)
        verify_before_restore(checkpoint, self._plan.verify)
        return checkpoint

    def close(self) -> None:
        """Ends this attempt: waits for what is being written, and lets go of the run, as the end of
        `with manager:` does.

        Saves what a loop left by `break` or `sys.exit()` had done; saves nothing where an exception
        is under way. A request to stop that no turn has met is served here.

        Raises:
            ConfigError: where it is called inside a tf.function.
            StorageError: where the disk refuses; earlier checkpoints are untouched, and the run is
                let go of.
            BackgroundSaveError: what went wrong in the background since the last time.
            Preempted: after a request to stop, with the state saved.
        """
        _not_in_function("close")
        self._leave(sys.exc_info()[1])

    def _leave(self, error: BaseException | None) -> None:
        self.let_go(
            None if is_orderly_exit(error) else error
        )  # sys.exit() leaves a loop as break does

    def __getstate__(self) -> dict[str, Any]:
        if self._attempt is not None:
            raise ConfigError(
                f"This CheckpointManager has the run in {self._plan.layout.root} open: its lock, "
                "its signal handlers and its position "
                "are this process's own and cannot be copied or pickled. Copy it before it is "
                "used, or make a second one."
            )
        return self.__dict__

    # -- saving

    def save(self, step: int, metrics: Mapping[str, Any] | None = None) -> bool:
        """Saves now, whatever the policy says.

        Args:
            step: training batches done since the run began.
            metrics: what was measured at this step; numbers or scalar tensors.

        Returns:
            True.

        Raises:
            StorageError: where the disk refuses; earlier checkpoints are untouched.
            BackgroundSaveError: what went wrong in the background since the last time; this step is
                then not saved.
            ConfigError: where the run is not open, or the step lies before the run's.
        """
        _not_in_function("save")
        attempt = self._opened()
        attempt.advance_to(_check_step(step), metrics)
        attempt.check()
        attempt.save("asked for")
        return True

    def maybe_save(self, step: int, metrics: Mapping[str, Any] | None = None) -> bool:
        """Saves where the policy says so, and serves a request to stop.

        Args:
            step: training batches done since the run began.
            metrics: what was measured at this step; numbers or scalar tensors.

        Returns:
            Whether the policy said so. Where there is no space then, that is a warning, and the
            next save tries again.

        Raises:
            StorageError: where the disk refuses for another reason than space; earlier checkpoints
                are untouched.
            ConfigError: where the run is not open, or the step lies before the run's.
            Preempted: after a request to stop, with the state saved.
        """
        _not_in_function("maybe_save")
        attempt = self._opened()
        attempt.advance_to(_check_step(step), metrics)
        return attempt.save_if_due()

    def log(self, **metrics: Any) -> None:
        """Notes what was measured in this turn. Tensors are kept, and converted only when a save
        needs them.

        Args:
            **metrics: numbers or scalar tensors by name.

        Raises:
            ConfigError: where the run is not open.
        """
        _not_in_function("log")
        self._opened().measured(metrics)

    def wait_until_finished(self, timeout_secs: float | None = None) -> None:
        """Returns when everything that was saved is committed.

        Args:
            timeout_secs: how long to wait at most, in seconds; None waits for as long as it takes.

        Raises:
            BackgroundSaveError: what went wrong since the last time; and where there was no space
                for the newest save.
            ConfigError: where the run is not open, or it is called inside a tf.function.
        """
        _not_in_function("wait_until_finished")
        self._opened().confirm(timeout_secs)

    # -- loops

    def steps(self, total: int) -> Iterator[int]:
        """A loop over the steps that are left.

        A turn that is left by `break` or an exception does not count, and the next start makes it
        again. `break` saves the state as it is; where the turn has trained already, that training
        is in it, and is said. To stop with a turn that counts, call `request_stop()`; or break at
        the top of the body, before it trains.

        Args:
            total: steps of the whole run, over all attempts.

        Returns:
            An iterator over step numbers, from 1 or after the restored one; each is complete when
            the loop's body ends.

        Raises:
            ConfigError: where `total` is no count, the run is not open, or it is called inside a
                tf.function.
            StorageError: where the disk refuses; earlier checkpoints are untouched.
            Preempted: between two turns after a request to stop, with the state saved.
        """
        return loops.steps(self._loop("steps", loops.check_total("steps", total)), total)

    def epochs(self, total: int) -> Iterator[int]:
        """A loop over the epochs that are left, the one in which the run was interrupted among
        them; `data` goes on in its middle.

        Steps are counted by `data`, or by `save` and `maybe_save`. An epoch in which nothing counts
        them is one step itself, and is begun again where it was interrupted.

        Args:
            total: epochs of the whole run, over all attempts.

        Returns:
            An iterator over epoch numbers, from 0.

        Raises:
            ConfigError: where `total` is no count, the run is not open, or it is called inside a
                tf.function.
            StorageError: where the disk refuses; earlier checkpoints are untouched.
            Preempted: between two turns after a request to stop, with the state saved.
        """
        return loops.epochs(self._loop("epochs", loops.check_total("epochs", total)), total)

    def data(self, dataset: Iterable[Batch]) -> Iterator[Batch]:
        """A loop over the batches of one epoch, which counts steps. After an interruption in its
        middle it goes on with the batch that was next.

        Each call in an epoch is a pass of its own. A pass that is left by `break` is over when the
        program goes on in the epoch; where the program is left as well, the next start goes on in
        it. Several passes at once, as in `zip(manager.data(a), manager.data(b))`, count one step
        for each round.

        Args:
            dataset: a tf.data.Dataset, or another iterable of batches.

        Returns:
            An iterator over its batches.

        Raises:
            ConfigError: where the run is not open, it is called inside a tf.function, or passes are
                inside one another.
            StorageError: where the disk refuses; earlier checkpoints are untouched.
            Preempted: between two turns after a request to stop, with the state saved.
        """
        return loops.batches(self._loop("data"), dataset)

    def request_stop(self, reason: str = "request_stop()") -> None:
        """Asks the run to save and stop at its next safe point, with `Preempted`. May be called
        from any thread.

        Args:
            reason: recorded in the journal.

        Raises:
            ConfigError: where the run is not open, or it is called inside a tf.function.
        """
        _not_in_function("request_stop")
        self._opened().stopping.request(reason)

    def safe_point(self) -> None:
        """Serves a request to stop here. Call it where the training of the turn is done, as in a
        long evaluation; the turn counts as done.

        Raises:
            ConfigError: where the run is not open, or it is called inside a tf.function.
            StorageError: where the disk refuses; earlier checkpoints are untouched.
            Preempted: after a request to stop, with the state saved.
        """
        _not_in_function("safe_point")
        self._opened().safe_point()

    # -- looking

    @property
    def position(self) -> RunPosition:
        """Where the run is.

        Raises:
            ConfigError: where the run is not open.
        """
        return self._opened().position

    @property
    def latest_step(self) -> int | None:
        """The newest checkpoint's step, or None where there is no checkpoint."""
        checkpoints = self.run.checkpoints
        return checkpoints[-1].step if checkpoints else None

    @property
    def all_steps(self) -> list[int]:
        """Steps of all checkpoints, oldest first."""
        return sorted({checkpoint.step for checkpoint in self.run.checkpoints})

    @property
    def run(self) -> StoredRun:
        """The run for looking at it, with what is being written: waits for that."""
        if self._attempt is not None:
            self._attempt.wait()
        return StoredRun(self._plan.layout)

    @property
    def is_open(self) -> bool:
        """Whether the run is open for training by this manager."""
        return self._attempt is not None

    @property
    def is_training(self) -> bool:
        """Whether a loop or a `fit` is under way."""
        return self._attempt is not None and self._attempt.phase not in (
            "starting",
            "between loops",
        )

    # -- inside

    def open_attempt(self, extra_state: Mapping[str, Any] | None = None) -> Session:
        """Opens the run without restoring anything; what `CheckpointCallback` does in `fit`.

        Args:
            extra_state: what belongs to the state beside what the user named; the run must then not
                be open yet.

        Raises:
            ConfigError: where the run is open already, or a name of `extra_state` stands for
                another object.
            RunLockedError: where it is being trained.
            StorageError: where the disk refuses.
        """
        if self._attempt is None:
            check_one_worker(os.environ)
            show_by_default()
            state = self._with(extra_state or {})
            open_managers.take_over(self._plan.layout, self)
            with remote_control.told_where_it_fails():
                self._attempt = Session(replace(self._plan, state=state))
            open_managers.opened(self._plan.layout, self)
        elif extra_state:
            raise ConfigError(
                f"model.fit opens the run in {self._plan.layout.root} itself, restores it on its "
                "way to where it goes on, and closes "
                "it. It was called while the manager has the run open already; nothing was "
                "trained. Call fit outside of `with "
                f"manager:`, with callbacks=[ckptkit.CheckpointCallback(manager)]."
            )
        return self._attempt

    def _with(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        state = dict(self._plan.state)
        known = {id(value) for value in state.values()}
        for name, value in extra.items():
            if id(value) in known:
                continue
            if name in state:
                raise ConfigError(
                    f"fit keeps the model that it trains as {name!r}, and the manager's state has "
                    "another object under that name "
                    f"({type(state[name]).__name__}, where fit trains {type(value).__name__} "
                    f"{getattr(value, 'name', '')!r}). Name that one otherwise in state={{...}}, "
                    "or pass the model itself there."
                )
            state[name] = value
        return state

    def _opened(self) -> Session:
        if self._attempt is None:
            raise ConfigError(
                "The run is not open. Use the manager inside `with manager:`, or after "
                "manager.restore_or_initialize()."
            )
        return self._attempt

    def _loop(self, method: str, total: int | None = None) -> Session:
        _not_in_function(method)
        attempt = self._opened()
        if total is not None:
            attempt.total = total
        return attempt

    def let_go(self, error: BaseException | None) -> None:
        """Ends this attempt, for the reason that is given."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            open_managers.closed(self._plan.layout, self)
            attempt.close(error)


def _not_in_function(method: str) -> None:
    if tf.inside_function():
        raise ConfigError(
            f"manager.{method} works on files and on Python's side; it was called inside a "
            "tf.function, where it would run "
            f"once, at tracing. Call it between two steps, outside of the tf.function."
        )


def _check_step(step: object) -> int:
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise ConfigError(
            "step counts the training batches done since the run began: a whole number of 0 or "
            "more. "
            f"Received: step={step!r}."
        )
    return step
