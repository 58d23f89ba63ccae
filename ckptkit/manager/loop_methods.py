"""The methods of `CheckpointManager` for training loops: steps, epochs, data, log and more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ckptkit.manager import loop_generators
from ckptkit.manager.argument_checks import check_not_in_function, check_total
from ckptkit.manager.session_slot import SessionSlot
from ckptkit.session.session import Session
from ckptkit.tracking.strategy_check import check_strategy

Batch = TypeVar("Batch")


class TrainingLoops:
    """The base class of `CheckpointManager` with the methods that training loops call."""

    _slot: SessionSlot

    def steps(self, total: int) -> Iterator[int]:
        """Yield the numbers of the remaining steps.

        A turn that is left by `break` or an exception does not count, and the next start makes it
        again. `break` at the top of the body saves the state. If the turn may have trained already,
        its state belongs to no step: `break` then saves the newest snapshot from before the turn,
        and a warning names its step. Such snapshots take 1/200 of the training time, and none is
        kept of a state over 64 MB. To stop with a turn that counts, call `save(step)` before
        `break`, or `request_stop()`.

        Args:
            total: the number of steps of the whole run, over all attempts.

        Returns:
            An iterator over step numbers, from 1 or after the restored step. A step is done when
                the loop's body ends.

        Raises:
            ConfigError: If `total` is invalid, the run is not open, or it is called inside a
                tf.function or a loop over `epochs`.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: Between two turns after a request to stop, with the state saved.
        """
        total = check_total("steps", total)
        return loop_generators.steps(self._loop("steps", total), total)

    def epochs(self, total: int) -> Iterator[int]:
        """Yield the numbers of the remaining epochs.

        The first number may be the epoch in which the run was interrupted; `data` then continues in
        the middle of that epoch. `data`, `save` and `maybe_save` count steps. An epoch in which
        nothing counts steps is one step, and starts again from its beginning after an interruption.
        A warning says so if an optimizer makes several updates in such an epoch.

        Args:
            total: the number of epochs of the whole run, over all attempts.

        Returns:
            An iterator over epoch numbers, from 0.

        Raises:
            ConfigError: If `total` is invalid, the run is not open, or it is called inside a
                tf.function.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: Between two turns after a request to stop, with the state saved.
        """
        total = check_total("epochs", total)
        return loop_generators.epochs(self._loop("epochs", total), total)

    def data(self, dataset: Iterable[Batch], *, strategy: Any = None) -> Iterator[Batch]:
        """Yield the batches of one epoch, and count a step for each.

        After an interruption inside an epoch, it continues with the next batch. Each call in an
        epoch is a separate pass over the data. If `break` leaves a pass and the epoch continues,
        the pass is over. If the program ends instead, the next start continues the pass. Several
        passes at once, as in `zip(manager.data(a), manager.data(b))`, count one step for each
        round.

        Args:
            dataset: a tf.data.Dataset, or another iterable of batches.
            strategy: a `tf.distribute.MirroredStrategy`, for whose replicas each batch is split as
                by `strategy.experimental_distribute_dataset`. TensorFlow cannot save the position
                in a dataset that it has split itself. Call it outside of `strategy.scope()`.

        Returns:
            An iterator over its batches. With `strategy`, their values are one for each replica, to
                pass to `strategy.run`.

        Raises:
            ConfigError: If the strategy is not supported, or a batch has values without rows. Also
                if the run is not open, it is called inside a tf.function, or one pass is
                nested in another.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: Between two turns after a request to stop, with the state saved.
        """
        if strategy is not None:
            check_strategy(strategy)
        return loop_generators.batches(self._loop("data"), dataset, strategy)

    def _loop(self, method: str, total: int | None = None) -> Session:
        check_not_in_function(method)
        session = self._slot.opened()
        if total is not None:
            session.total = total
            if session.team is not None:
                session.team.begin_loop(f"manager.{method}({total})")
        return session

    def request_stop(self, reason: str = "request_stop()") -> None:
        """Ask the run to save and stop at its next safe point.

        The loop then raises `Preempted`. May be called on any thread.

        Args:
            reason: the reason, which is recorded in the journal.

        Raises:
            ConfigError: If the run is not open, or it is called inside a tf.function.
        """
        check_not_in_function("request_stop")
        self._slot.opened().stopping.request(reason)

    def safe_point(self) -> None:
        """If a stop was requested, save the state and leave the loop here.

        A turn is one run through the loop's body. Call this inside the body, after the training of
        the turn, for example during a long evaluation. The turn counts as done if the loop stops
        here. Several workers of a job stop only at the end of a turn, all at the same one.

        Raises:
            ConfigError: If the run is not open, or it is called inside a tf.function.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: After a request to stop, with the state saved.
        """
        check_not_in_function("safe_point")
        self._slot.opened().safe_point()

    def log(self, **metrics: Any) -> None:
        """Set the metrics of this turn, which saves record and policies compare.

        Tensors are converted to numbers only when they are needed.

        Args:
            **metrics: numbers or scalar tensors by name.

        Raises:
            ConfigError: If the run is not open.
        """
        check_not_in_function("log")
        self._slot.opened().measured(metrics)
