"""The loops of a custom training program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.position import RunPosition
from ckptkit.session.session import Session

_END = object()


def steps(attempt: Session, total: int) -> Iterator[int]:
    """Numbers of the turns that are left, each the one that is complete when its body ends."""
    with attempt.training():
        if attempt.position.step >= total > 0:
            attempt.say_finished("steps", attempt.position.step)
        while attempt.position.step < total:
            position = replace(attempt.position, step=attempt.position.step + 1)
            with attempt.turn(position) as turn:
                yield position.step
            attempt.turn_done(turn, last=position.step >= total)
        attempt.finish()
    attempt.stopping.serve()


def epochs(attempt: Session, total: int) -> Iterator[int]:
    """Numbers of the epochs that are left, from 0."""
    with attempt.training():
        if attempt.position.epoch >= total > 0:
            attempt.say_finished("epochs", attempt.position.epoch)
        while attempt.position.epoch < total:
            began = attempt.position
            with attempt.epoch():
                yield began.epoch
            if attempt.position.epoch != began.epoch:
                raise ConfigError(
                    "Inside `for epoch in manager.epochs(...)` the epoch is counted by the loop. "
                    "Use one loop of epochs."
                )
            attempt.count_epoch(began)
            if attempt.position.epoch < total:
                attempt.save_if_due()
        attempt.finish()
    attempt.stopping.serve()


def batches(attempt: Session, dataset: Iterable[Any]) -> Iterator[Any]:
    """The batches of one epoch."""
    with attempt.training(), closing(attempt.data.batches(dataset)) as batches:
        while True:
            before = attempt.stopwatch.switch_to("data")
            try:
                batch = next(batches, _END)
            finally:
                attempt.stopwatch.switch_to(before)
            if batch is _END:
                return
            at = attempt.position
            with attempt.turn(
                RunPosition(step=at.step + 1, epoch=at.epoch, batch=at.batch + 1)
            ) as turn:
                yield batch
            attempt.turn_done(turn)


def check_total(name: str, total: object) -> int:
    """Checks the argument of a loop.

    Raises:
        ConfigError: where it is not a whole number of at least 0.
    """
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise ConfigError(
            f"manager.{name}(total): total counts all {name} since the run began, a whole number "
            "of 0 or more. "
            f"Received: {total!r}."
        )
    return total
