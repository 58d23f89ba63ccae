"""Reads a good checkpoint of a run under a lease, so that training does not delete it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError
from ckptkit.layout import CheckpointName
from ckptkit.load.formats import FoundFormat
from ckptkit.log import logger
from ckptkit.restore.newest_checkpoint import newest_first
from ckptkit.restore.verification import verify_before_restore
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.fresh_start import this_life
from ckptkit.run.manifest import LaterFormatError
from ckptkit.run.stored_run import StoredRun, open_run

T = TypeVar("T")


def read_run(found: FoundFormat, step: int | str | None, action: Callable[[Checkpoint], T]) -> T:
    """Call a function with a verified checkpoint of a run.

    Args:
        found: the run, or one checkpoint of it.
        step: a number, `"latest"` or `"best"`; None means the newest good checkpoint, skipping
            damaged ones with a warning.
        action: the function. It is called again with another checkpoint if the first one
            disappeared or was damaged.

    Raises:
        CheckpointNotFoundError: If there is no such checkpoint.
        CorruptCheckpointError: If it is damaged; for the newest, if no checkpoint is good.
        StorageError: If the system refuses to read.
    """
    run = open_run(found.path)
    if found.step is None and step in (None, "latest"):
        return _newest_good(run, action)
    exact = CheckpointName(found.step, found.attempt or 0) if found.step is not None else None
    return _read(
        run,
        lambda: _named(run, exact) if exact else run.find(step if step is not None else "latest"),
        action,
    )


def _read(run: StoredRun, choose: Callable[[], Checkpoint], action: Callable[[Checkpoint], T]) -> T:
    while True:
        with run.holding(choose) as checkpoint:
            try:
                return action(verify_before_restore(checkpoint, "auto"))
            except Exception:
                if checkpoint.path.is_dir():
                    raise
                # It was deleted: a reader without write permission cannot leave a lease. Choose
                # again.


def _newest_good(run: StoredRun, action: Callable[[Checkpoint], T]) -> T:
    bad: dict[CheckpointName, CorruptCheckpointError] = {}

    def newest() -> Checkpoint:
        found = newest_first(run.layout, this_life(run.journal))
        good = next((each for each in found if each.name not in bad), None)
        if good is not None:
            return good
        if bad:
            why = "\n".join(f"{name}: {error}" for name, error in bad.items())
            raise CorruptCheckpointError(f"All checkpoints of {run.directory} are damaged.\n{why}")
        raise CheckpointNotFoundError(f"{run.directory} contains no checkpoint.")

    while True:
        chosen: list[Checkpoint] = []

        def choose(chosen: list[Checkpoint] = chosen) -> Checkpoint:
            chosen[:] = [newest()]
            return chosen[0]

        try:
            return _read(run, choose, action)
        except LaterFormatError:
            raise
        except CorruptCheckpointError as error:
            if not chosen or chosen[0].name in bad:
                raise
            logger.warning(
                "%s is damaged; reading the checkpoint before it: %s", chosen[0].name, error
            )
            bad[chosen[0].name] = error


def _named(run: StoredRun, name: CheckpointName) -> Checkpoint:
    for checkpoint in run.checkpoints:
        if checkpoint.name == name:
            return checkpoint
    raise CheckpointNotFoundError(f"{run.directory} has no checkpoint {name}.")
