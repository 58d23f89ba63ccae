"""The generators behind `manager.steps`, `manager.epochs` and `manager.data`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

from ckptkit.data.split_batch import splitter
from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.session.run_completion import (
    is_trained_to_end_here,
    note_found_finished,
    note_trained_to_end,
)
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
    began_at = session.position.step
    if session.position.step >= total > 0:
        _say_finished(session, "steps", session.position.step, total)
    with _training(session, session.position.step < total):
        while session.position.step < total:
            at = session.position
            position = RunPosition(step=at.step + 1, epoch=at.epoch, batch=at.batch)
            with session.loop.turn(position) as turn:
                yield position.step
            session.loop.turn_done(turn, last=position.step >= total)
        session.finish()
        _note_end(session, began_at)
    # For a request that came during the final save, because no further turn would serve it.
    session.stopping.serve()


def epochs(session: Session, total: int) -> Iterator[int]:
    """Yield the numbers of the remaining epochs; the first epoch of a run is 0."""
    began_at = session.position.step
    if session.position.epoch >= total > 0:
        _say_finished(session, "epochs", session.position.epoch, total)
    with _training(session, session.position.epoch < total):
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
                session.save_if_due(ends_epoch=True)
                session.loop.between_turns()
        session.finish()
        _note_end(session, began_at)
    session.stopping.serve()


def batches(session: Session, dataset: Iterable[Any], strategy: Any = None) -> Iterator[Any]:
    """Yield the batches of one epoch, split for the replicas of a strategy if there is one."""
    split = splitter(dataset, strategy)
    # After a break, the generator of batches has to end at once, not when it is collected.
    with session.loop.training(), closing(session.tracked.data.batches(dataset)) as batches:
        while True:
            with session.phases.stopwatch.during("data"):
                batch = next(batches, _END)
            if batch is _END:
                return
            batch = split(batch)
            at = session.position
            with session.loop.turn(
                RunPosition(step=at.step + 1, epoch=at.epoch, batch=at.batch + 1)
            ) as turn:
                yield batch
            session.loop.turn_done(turn)


def _training(session: Session, is_left: bool) -> AbstractContextManager[None]:
    # A loop over a finished run trains nothing, and the run stays finished whatever follows.
    return session.loop.training() if is_left else nullcontext()


def _say_finished(session: Session, what: str, done: int, total: int) -> None:
    """Say that a loop has nothing to train, because the run has finished.

    Raises:
        ConfigError: If this process has finished the run itself, or was told before: its further
            loops expect to train.
    """
    layout, step = session.options.layout, session.position.step
    on = (
        f"To continue training, pass a larger total to manager.{what}. For another run, pass "
        "fresh='a label' or name another directory, in which "
        f"init_from={str(layout.root)!r} begins with these weights"
    )
    if is_trained_to_end_here(layout, step, f"{what}={total}"):
        raise ConfigError(
            f"This process has just finished the run in {layout.root}: {done} {what} are done, and "
            f"manager.{what}({total}) would train nothing. Expected one loop over manager.{what}"
            f"(total), with the {what} of the whole run. {on}."
        )
    note_found_finished(layout, step, f"{what}={total}")
    logger.info("this run has finished: %d %s are done, so nothing is trained. %s", done, what, on)


def _note_end(session: Session, began_at: int) -> None:
    if session.position.step > began_at:
        note_trained_to_end(session.options.layout, session.position.step)
