"""Runs work whose failure must not end training, such as deleting old checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit.errors import StorageError
from ckptkit.log import logger
from ckptkit.run.events import TidyingFailed
from ckptkit.run.journal import Journal


@contextmanager
def best_effort(journal: Journal, what: str) -> Iterator[None]:
    """Turn a `StorageError` in the block into a warning and a line of the journal.

    Args:
        journal: the journal of this attempt.
        what: the work of the block in words, as after "could not".
    """
    try:
        yield
    except StorageError as error:
        logger.warning(
            "could not %s; the checkpoints are safe, and training continues: %s", what, error
        )
        journal.record(TidyingFailed(what=what, message=str(error)))
