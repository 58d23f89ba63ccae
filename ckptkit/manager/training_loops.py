"""The methods of `CheckpointManager` that custom training loops call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ckptkit.manager import loops
from ckptkit.manager.checks import check_not_in_function, check_total
from ckptkit.manager.session_slot import SessionSlot
from ckptkit.session.session import Session

Batch = TypeVar("Batch")


class TrainingLoops:
    """Loops over steps, epochs and batches, of the session that a manager has open."""

    _slot: SessionSlot

    def steps(self, total: int) -> Iterator[int]:
        """Yields the numbers of the steps that are left.

        A turn that is left by `break` or an exception does not count, and the next start makes it
        again. `break` saves the state as it is; if the turn has trained already, that training
        is in it, and a warning says so. To stop with a turn that counts, call `request_stop()`; or
        break at the top of the body, before it trains.

        Args:
            total: steps of the whole run, over all attempts.

        Returns:
            An iterator over step numbers, from 1 or after the restored one; each is complete when
            the loop's body ends.

        Raises:
            ConfigError: If `total` is no count, the run is not open, or it is called inside a
                tf.function or a loop over `epochs`.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: Between two turns after a request to stop, with the state saved.
        """
        total = check_total("steps", total)
        return loops.steps(self._loop("steps", total), total)

    def epochs(self, total: int) -> Iterator[int]:
        """Yields the numbers of the epochs that are left, and resumes in the middle of one.

        The first may be the epoch in which the run was interrupted; `data` continues in its middle.
        Steps are counted by `data`, or by `save` and `maybe_save`. An epoch in which nothing counts
        them is one step itself, and is begun again if it was interrupted; a warning says so if an
        optimizer has made several updates in it.

        Args:
            total: epochs of the whole run, over all attempts.

        Returns:
            An iterator over epoch numbers, from 0.

        Raises:
            ConfigError: If `total` is invalid, the run is not open, or it is called inside a
                tf.function.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: Between two turns after a request to stop, with the state saved.
        """
        total = check_total("epochs", total)
        return loops.epochs(self._loop("epochs", total), total)

    def data(self, dataset: Iterable[Batch]) -> Iterator[Batch]:
        """Yields the batches of one epoch, and counts a step for each.

        After an interruption inside an epoch, it continues with the next batch. Each call in
        an epoch is a pass of its own. A pass that is left by `break` is over when the program
        continues in the epoch; if the program is left as well, the next start continues in it.
        Several passes at once, as in `zip(manager.data(a), manager.data(b))`, count one step
        for each round.

        Args:
            dataset: a tf.data.Dataset, or another iterable of batches.

        Returns:
            An iterator over its batches.

        Raises:
            ConfigError: If the run is not open, it is called inside a tf.function, or passes are
                inside one another.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: Between two turns after a request to stop, with the state saved.
        """
        return loops.batches(self._loop("data"), dataset)

    def _loop(self, method: str, total: int | None = None) -> Session:
        check_not_in_function(method)
        session = self._slot.opened()
        if total is not None:
            session.total = total
        return session

    def request_stop(self, reason: str = "request_stop()") -> None:
        """Asks the run to save and stop at its next safe point, with `Preempted`.

        May be called from any thread.

        Args:
            reason: recorded in the journal.

        Raises:
            ConfigError: If the run is not open, or it is called inside a tf.function.
        """
        check_not_in_function("request_stop")
        self._slot.opened().stopping.request(reason)

    def safe_point(self) -> None:
        """Serves a request to stop here.

        Call it when the turn's training is done, as in a long evaluation. The turn then counts as
        done.

        Raises:
            ConfigError: If the run is not open, or it is called inside a tf.function.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
            Preempted: After a request to stop, with the state saved.
        """
        check_not_in_function("safe_point")
        self._slot.opened().safe_point()

    def log(self, **metrics: Any) -> None:
        """Notes what was measured in this turn.

        Tensors are kept, and converted only when a save needs them.

        Args:
            **metrics: numbers or scalar tensors by name.

        Raises:
            ConfigError: If the run is not open.
        """
        check_not_in_function("log")
        self._slot.opened().measured(metrics)
