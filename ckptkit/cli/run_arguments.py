"""The arguments of the commands: a run, and one of its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ckptkit.cli.error_codes import NoSuchRunError
from ckptkit.cli.plain_text import plain
from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError
from ckptkit.layout import CheckpointName
from ckptkit.run import quarantine
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.manifest import ManifestHead
from ckptkit.run.roll_back import is_rolled_back
from ckptkit.run.stored_run import StoredRun, open_run
from ckptkit.run.verify import verify

run_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "run", metavar="RUN"
)


def opened(directory: str) -> StoredRun:
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


def which_checkpoint(_context: click.Context, _parameter: click.Parameter, text: str) -> int | str:
    """A step as a number, or `latest` or `best`."""
    which = parsed(text)
    if which is None:
        raise click.BadParameter(
            "A checkpoint is named by its step, or is 'latest' or 'best'. Received: "
            f"{plain(text)!r}."
        )
    return which


def parsed(text: str) -> int | str | None:
    """A step as a number, or `latest` or `best`; None where it is none of these."""
    if text in ("latest", "best"):
        return text
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


@dataclass(frozen=True)
class SeenCheckpoint:
    """A checkpoint as it was met.

    Args:
        checkpoint: which.
        problem: what is wrong with it, as far as names and sizes of its files tell, or None.
    """

    checkpoint: Checkpoint
    problem: str | None

    @property
    def head(self) -> ManifestHead | None:
        """The same without the state, which is all that a list needs."""
        return (
            self.checkpoint.head
            if self.problem is None or self.checkpoint.problem is None
            else None
        )


def checkpoints_of(run: StoredRun) -> list[SeenCheckpoint]:
    """The run's checkpoints, oldest first. Reads no tensors.

    A training process may take a checkpoint away after it was listed here; what is gone is not
    damaged, and is left out.
    """
    seen = [SeenCheckpoint(checkpoint, _problem(checkpoint)) for checkpoint in run.checkpoints]
    return [each for each in seen if each.problem is None or each.checkpoint.path.exists()]


def _problem(checkpoint: Checkpoint) -> str | None:
    try:
        verify(checkpoint, quick=True)
    except CorruptCheckpointError as error:
        return str(error)
    return None


def named(run: StoredRun, which: int | str | CheckpointName) -> Checkpoint:
    """The checkpoint that was asked for, damaged or not.

    Raises:
        CheckpointNotFoundError: where there is none.
    """
    there = [
        each for each in run.checkpoints if each.path.exists()
    ]  # one that is taken away while we look is gone
    if which == "best":
        return run.find("best")
    matching = [each for each in there if which in ("latest", each.step, each.name)]
    return matching[-1] if matching else run.find(which if isinstance(which, int) else str(which))


def chosen(run: StoredRun, which: int | str | CheckpointName) -> Checkpoint:
    """The checkpoint that was asked for, and no other one in its place.

    Raises:
        CheckpointNotFoundError: where there is none.
        CorruptCheckpointError: where it is damaged.
    """
    seen = checkpoints_of(run)
    checkpoint = named(run, which)
    name, problem = (
        checkpoint.name,
        next((each.problem for each in seen if each.checkpoint.name == checkpoint.name), None),
    )
    if problem is not None:
        whole = [each.checkpoint.step for each in seen if each.problem is None]
        advice = (
            f"The newest whole one: ckptkit show {plain(run.directory)} {whole[-1]}"
            if whole
            else "No other checkpoint of this run is whole."
        )
        raise CorruptCheckpointError(f"{name} is damaged: {problem} {advice}")
    return checkpoint


def quarantined(run: StoredRun) -> int:
    """How many checkpoints were moved away because they could not be used."""
    return len(quarantine.quarantined(run.layout))


def lives_aside(run: StoredRun) -> int:
    """How many earlier lives were set aside for a fresh start. A life may leave several things
    there; its checkpoints count.
    """
    names = [name for name in _names(run.layout.aside) if not is_rolled_back(name)]
    lives = [name for name in names if name.partition(".")[0] == run.layout.checkpoints.name]
    return len(lives) or min(1, len(names))


def rolled_back(run: StoredRun) -> int:
    """How many checkpoints were set aside because the run was rolled back to an older one."""
    return sum(
        len(_names(run.layout.aside / name))
        for name in _names(run.layout.aside)
        if is_rolled_back(name)
    )


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []
