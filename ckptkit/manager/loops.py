"""The loops of a custom training program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.manager.attempt import Attempt
from ckptkit.position import RunPosition


def steps(attempt: Attempt, total: int) -> Iterator[int]:
    """Numbers of the turns that are left, each the one that is complete when its body ends."""
    while attempt.position.step < total:
        step = attempt.position.step + 1
        yield step
        attempt.turn_done(RunPosition(step=step, epoch=attempt.position.epoch, batch=attempt.position.batch))
    attempt.finish()


def epochs(attempt: Attempt, total: int) -> Iterator[int]:
    """Numbers of the epochs that are left, from 0."""
    while attempt.position.epoch < total:
        epoch = attempt.position.epoch
        if attempt.position.batch:
            attempt.epoch_restarted()
        yield epoch
        if attempt.position.epoch != epoch:
            raise ConfigError("Inside `for epoch in manager.epochs(...)` the epoch is counted by the loop. Use one loop of epochs.")
        attempt.turn_done(RunPosition(step=attempt.position.step, epoch=epoch + 1, batch=0))
    attempt.finish()


def batches(attempt: Attempt, dataset: Iterable[Any]) -> Iterator[Any]:
    """The batches of one epoch."""
    for batch in dataset:
        yield batch
        at = attempt.position
        attempt.turn_done(RunPosition(step=at.step + 1, epoch=at.epoch, batch=at.batch + 1))


def safe_point(attempt: Attempt) -> None:
    """Serves a request to stop inside a turn whose training is done."""
    attempt.serve_stop()


def check_total(name: str, total: object) -> int:
    """Checks the argument of a loop.

    Raises:
        ConfigError: where it is not a whole number of at least 0.
    """
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise ConfigError(f"manager.{name}(total): total counts all {name} since the run began, a whole number of 0 or more. "
                          f"Received: {total!r}.")
    return total
