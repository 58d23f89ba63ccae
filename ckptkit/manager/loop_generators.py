"""The generators behind `manager.steps`, `manager.epochs` and `manager.data`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.session.session import Session

_END = object()


def steps(session: Session, total: int) -> Iterator[int]:
    """Yield the numbers of the remaining steps; each step is done when the loop's body ends."""
    if session.loop.in_epoch:
        raise ConfigError(
            "manager.steps(total) counts the steps of the whole run. Inside `for epoch in "
            "manager.epochs(...)` it would train nothing from the second epoch on. Write `for "
            "batch in manager.data(dataset)` there, or one loop `for step in manager.steps(epochs "
            "* steps_per_epoch)` without epochs."
        )
    if session.options.save.never_due_without_epochs():
        logger.warning(
            "save=%r is never due in manager.steps, which counts no epochs, so only the end of "
            "training is saved. Use ckptkit.EveryNSteps(n); or loop over manager.epochs(n) and "
            "manager.data(dataset)",
            session.options.save,
        )
    with session.loop.training():
        if session.position.step >= total > 0:
            _log_finished("steps", session.position.step)
        while session.position.step < total:
            position = replace(session.position, step=session.position.step + 1)
            with session.loop.turn(position) as turn:
                yield position.step
            session.loop.turn_done(turn, last=position.step >= total)
        session.finish()
    # For a request that came during the final save, because no further turn would serve it.
    session.stopping.serve()


def epochs(session: Session, total: int) -> Iterator[int]:
    """Yield the numbers of the remaining epochs; the first epoch of a run is 0."""
    with session.loop.training():
        if session.position.epoch >= total > 0:
            _log_finished("epochs", session.position.epoch)
        while session.position.epoch < total:
            began = session.position
            with session.loop.epoch():
                yield began.epoch
            if session.position.epoch != began.epoch:
                raise ConfigError(
                    "manager.epochs(...) was called inside another manager.epochs(...), so epochs "
                    "would be counted twice. Use one loop of epochs."
                )
            session.loop.count_epoch(began)
            if session.position.epoch < total:
                session.save_if_due()
                session.loop.between_turns()
        session.finish()
    session.stopping.serve()


def batches(session: Session, dataset: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of one epoch."""
    # After a break, the generator of batches has to end at once, not when it is collected.
    with session.loop.training(), closing(session.tracked.data.batches(dataset)) as batches:
        while True:
            with session.stopwatch.during("data"):
                batch = next(batches, _END)
            if batch is _END:
                return
            at = session.position
            with session.loop.turn(
                RunPosition(step=at.step + 1, epoch=at.epoch, batch=at.batch + 1)
            ) as turn:
                yield batch
            session.loop.turn_done(turn)


def _log_finished(what: str, done: int) -> None:
    logger.info(
        "this run has finished: %d %s are done, so nothing is trained. To continue training, pass "
        "a larger total to manager.%s. For another run, pass fresh='a label' or name another "
        "directory",
        done,
        what,
        what,
    )
