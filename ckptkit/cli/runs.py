"""The RUN argument of the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ckptkit.cli.exits import NoSuchRunError
from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError
from ckptkit.store.catalog import Checkpoint
from ckptkit.store.run import Run, open_run
from ckptkit.store.verify import verify

run_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument("run", metavar="RUN")


def opened(directory: str) -> Run:
    """Opens the run that was named.

    Raises:
        NoSuchRunError: where it is no run.
        StorageError: where it cannot be read.
        ConfigError: where it is no path.
    """
    try:
        return open_run(directory)
    except CheckpointNotFoundError as error:
        raise NoSuchRunError(str(error)) from error


def problem_of(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a checkpoint as far as names and sizes of its files tell, or None. Reads no data."""
    try:
        verify(checkpoint, quick=True)
    except CorruptCheckpointError as error:
        return str(error)
    return None


def quarantined(run: Run) -> int:
    """How many checkpoints were moved away because they could not be used."""
    return len(_names(run.layout.quarantine))


def lives_aside(run: Run) -> int:
    """How many earlier lives were set aside for a fresh start. A life may leave several things there; its checkpoints count."""
    names = _names(run.layout.aside)
    lives = [name for name in names if name.partition(".")[0] == run.layout.checkpoints.name]
    return len(lives) or min(1, len(names))


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []
