"""Opens the run that a command names, and finds one of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ckptkit.cli.checkpoint_choice import best_by, is_best
from ckptkit.cli.error_codes import NoSuchRunError
from ckptkit.cli.plain_text import plain
from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError
from ckptkit.layout import CheckpointName
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import ManifestHead
from ckptkit.run.stored_run import StoredRun, open_run
from ckptkit.run.verify import verify


def open_named_run(directory: str) -> StoredRun:
    """Open the run that a command names.

    Raises:
        NoSuchRunError: If the directory is not a run.
        StorageError: If the directory cannot be read.
        ConfigError: If the text is not a path.
    """
    try:
        return open_run(directory)
    except CheckpointNotFoundError as error:
        # The exit code differs: 10 for a missing run, 1 for a missing checkpoint of a run.
        raise NoSuchRunError(str(error)) from error


@dataclass(frozen=True)
class ListedCheckpoint:
    """A checkpoint and the result of a quick check of it.

    Args:
        checkpoint: the checkpoint.
        problem: what is wrong with it, judging by the names and sizes of its files; or None.
    """

    checkpoint: Checkpoint
    problem: str | None

    @property
    def head(self) -> ManifestHead | None:
        """The manifest without the list of tensors; None if the manifest cannot be read."""
        return (
            self.checkpoint.head
            if self.problem is None or self.checkpoint.problem is None
            else None
        )


def listed_checkpoints(run: StoredRun) -> list[ListedCheckpoint]:
    """Return the run's checkpoints with their problems, oldest first. Reads no tensors."""
    listed = [ListedCheckpoint(checkpoint, _problem(checkpoint)) for checkpoint in run.checkpoints]
    # Training may delete a checkpoint between the listing and the check. It looks damaged then,
    # because its files are missing; so only what still exists counts as damaged.
    return [each for each in listed if each.problem is None or each.checkpoint.path.exists()]


def _problem(checkpoint: Checkpoint) -> str | None:
    try:
        verify(checkpoint, quick=True)
    except CorruptCheckpointError as error:
        return str(error)
    return None


def find_checkpoint(run: StoredRun, choice: int | str | CheckpointName) -> Checkpoint:
    """Return the chosen checkpoint, even if it is damaged.

    Args:
        run: the run.
        choice: a step, `latest`, `best`, `best:METRIC`, or a checkpoint's name.

    Raises:
        CheckpointNotFoundError: If there is no such checkpoint.
    """
    # Training may have deleted some of them since the catalog was read.
    existing = [each for each in run.checkpoints if each.path.exists()]
    if is_best(choice):
        monitor, mode = best_by(str(choice))
        if monitor is not None:
            _check_metric(monitor, existing)
        return run.find("best", monitor=monitor, mode=mode)
    matching = [each for each in existing if choice in ("latest", each.step, each.name)]
    if matching:
        return matching[-1]
    # `find` raises the error, which lists the steps that exist.
    return run.find(choice if isinstance(choice, int) else str(choice))


def _check_metric(metric: str, checkpoints: Sequence[Checkpoint]) -> None:
    """Check that a checkpoint has a metric.

    Raises:
        CheckpointNotFoundError: If none has it.
    """
    known = sorted({name for each in checkpoints if each.problem is None for name in each.metrics})
    if metric in known:
        return
    similar = get_close_matches(metric, known, n=1)
    hint = f" Did you mean best:{plain(similar[0])}?" if similar else ""
    raise CheckpointNotFoundError(
        f"No checkpoint has the metric {plain(metric)!r}. Expected one of: "
        f"{', '.join(map(plain, known)) or 'none, because the checkpoints have no metrics'}. "
        f"Received: best:{plain(metric)}.{hint}"
    )


def find_good_checkpoint(run: StoredRun, choice: int | str | CheckpointName) -> Checkpoint:
    """Return the chosen checkpoint; a damaged checkpoint is an error.

    Args:
        run: the run.
        choice: a step, `latest`, `best`, `best:METRIC`, or a checkpoint's name.

    Raises:
        CheckpointNotFoundError: If there is no such checkpoint.
        CorruptCheckpointError: If the checkpoint is damaged.
    """
    listed = listed_checkpoints(run)
    checkpoint = find_checkpoint(run, choice)
    problem = next(
        (each.problem for each in listed if each.checkpoint.name == checkpoint.name), None
    )
    if problem is not None:
        good = [each.checkpoint.step for each in listed if each.problem is None]
        advice = (
            f"The newest good one: ckptkit show {plain(run.directory)} {good[-1]}"
            if good
            else "No other checkpoint of this run is good."
        )
        raise CorruptCheckpointError(f"{checkpoint.name} is damaged: {problem} {advice}")
    return checkpoint
