"""Looking at a run without TensorFlow, without a lock, without a write."""

from __future__ import annotations

import os
from pathlib import Path

from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError, StorageError
from ckptkit.log import logger
from ckptkit.policies import Candidate, rank
from ckptkit.policies.metrics import Mode
from ckptkit.store.catalog import Checkpoint, list_checkpoints
from ckptkit.store.events import Event
from ckptkit.store.journal import JournalView, read_journal
from ckptkit.store.layout import RunLayout, run_layout


class Run:
    """A run as it lies on disk; every property reads afresh.

    Args:
        layout: where it lies.
    """

    def __init__(self, layout: RunLayout) -> None:
        self.layout = layout

    @property
    def directory(self) -> Path:
        return self.layout.root

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Committed checkpoints, oldest first."""
        return list_checkpoints(self.layout)

    @property
    def journal(self) -> list[Event]:
        """What happened, over all attempts, in the order of time."""
        return list(self.journal_view.events)

    @property
    def journal_view(self) -> JournalView:
        """The journal, and which of its lines could not be read."""
        return read_journal(self.layout)

    def find(self, which: int | str = "latest", *, monitor: str | None = None, mode: Mode = "min") -> Checkpoint:
        """One checkpoint.

        Args:
            which: a step, `"latest"` or `"best"`.
            monitor: for `"best"`: the metric; where None, `val_loss`, or `loss` where that is not there.
            mode: for `"best"`: `"min"` (default) or `"max"`.

        Returns:
            The checkpoint; of one step, that of the highest attempt. Instead of a newest one that is damaged, the one before it; that is said.

        Raises:
            CheckpointNotFoundError: where there is none.
            CorruptCheckpointError: where the manifest of the step that was asked for is damaged.
            StorageError: where the directory, or the manifest that was asked for, cannot be read.
        """
        checkpoints = self.checkpoints
        if which == "latest":
            return self._latest(checkpoints)
        if which == "best":
            return self._best([c for c in checkpoints if c.problem is None], monitor, mode)
        matching = [c for c in checkpoints if str(c.step) == str(which)]
        if not matching:
            steps = ", ".join(str(step) for step in sorted({c.step for c in checkpoints})) or "none"
            raise CheckpointNotFoundError(f"{self.directory} has no checkpoint of step {which!r}. There is: {steps}. "
                                          f"'latest' and 'best' work too.")
        _ = matching[-1].manifest  # a damaged one is not silently another one
        return matching[-1]

    def _latest(self, checkpoints: list[Checkpoint]) -> Checkpoint:
        for checkpoint in reversed(checkpoints):
            try:
                _ = checkpoint.manifest
            except CorruptCheckpointError as error:
                logger.warning("%s is damaged, and the checkpoint before it counts: %s", checkpoint.name, error)
            else:
                return checkpoint
        raise CheckpointNotFoundError(f"{self.directory} holds no readable checkpoint.")

    def _best(self, checkpoints: list[Checkpoint], monitor: str | None, mode: Mode) -> Checkpoint:
        if not checkpoints:
            raise CheckpointNotFoundError(f"{self.directory} holds no readable checkpoint.")
        candidates = [Candidate(name=str(c.name), step=c.step, metrics=c.metrics) for c in checkpoints]
        for metric in [monitor] if monitor else ["val_loss", "loss"]:
            if ranked := rank(candidates, metric, mode):
                return next(c for c in checkpoints if str(c.name) == ranked[0].name)
        known = sorted({name for c in candidates for name in c.metrics})
        raise CheckpointNotFoundError(
            f"No checkpoint in {self.directory} has a finite {monitor or 'val_loss or loss'}. Metrics there: {known}.")


def is_run(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory holds a run."""
    layout = run_layout(directory)
    return layout.checkpoints.is_dir() or layout.journal.is_dir()


def open_run(directory: str | os.PathLike[str]) -> Run:
    """Opens a run for looking at it: no TensorFlow, no lock, no write.

    Args:
        directory: the run directory.

    Returns:
        The run, with `checkpoints` and `journal`.

    Raises:
        CheckpointNotFoundError: where there is no run.
        StorageError: where the directory cannot be read.

    Example:
        >>> import ckptkit
        >>> run = ckptkit.open_run(run_directory)
        >>> [checkpoint.step for checkpoint in run.checkpoints]
        [1, 2]
    """
    layout = run_layout(directory)
    try:
        return _open(layout)
    except PermissionError as error:
        raise StorageError(error.errno, f"Could not read {layout.root}: permission denied. Ask its owner for read permission.") from error


def _open(layout: RunLayout) -> Run:
    if not layout.root.exists():
        raise CheckpointNotFoundError(f"There is no directory {layout.root}. Expected a run directory, the one that was given to "
                                      f"CheckpointCallback or CheckpointManager.")
    if not layout.root.is_dir():
        raise CheckpointNotFoundError(f"{layout.root} is a file. Expected a run directory.")
    if not is_run(layout.root):
        raise CheckpointNotFoundError(f"{layout.root} is no run directory: it has neither checkpoints/ nor journal/. Expected the directory "
                                      f"that was given to CheckpointCallback or CheckpointManager.")
    return Run(layout)
