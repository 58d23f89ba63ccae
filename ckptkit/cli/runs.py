"""The RUN argument of the commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ckptkit.cli.exits import NoSuchRunError
from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError
from ckptkit.store.catalog import Checkpoint
from ckptkit.store.manifest import Manifest
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


@dataclass(frozen=True)
class Seen:
    """A checkpoint as it was met.

    Args:
        checkpoint: which.
        problem: what is wrong with it, as far as names and sizes of its files tell, or None.
    """

    checkpoint: Checkpoint
    problem: str | None

    @property
    def manifest(self) -> Manifest | None:
        """What it says of itself, or None where that cannot be read."""
        return self.checkpoint.manifest if self.problem is None or self.checkpoint.problem is None else None


def checkpoints_of(run: Run) -> list[Seen]:
    """The run's checkpoints, oldest first. Reads no tensors.

    A training process may take a checkpoint away after it was listed here; what is gone is not damaged, and is left out.
    """
    seen = [Seen(checkpoint, _problem(checkpoint)) for checkpoint in run.checkpoints]
    return [each for each in seen if each.problem is None or each.checkpoint.path.exists()]


def _problem(checkpoint: Checkpoint) -> str | None:
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
