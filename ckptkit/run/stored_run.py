"""Reads a run from disk, without TensorFlow, without a lock and without writing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ckptkit.clock import Clock, SystemClock
from ckptkit.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CorruptCheckpointError,
    StorageError,
)
from ckptkit.layout import CheckpointName, RunLayout, is_journal, run_layout
from ckptkit.log import logger
from ckptkit.ownership.reader_leases import held, is_leaving
from ckptkit.policies import rank
from ckptkit.policies.metric_direction import ModeOrAuto, given_or_inferred, required
from ckptkit.position import whole_number
from ckptkit.run.audit_path_redirect import path_to_read
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.events import Event
from ckptkit.run.journal_reader import JournalView, read_journal
from ckptkit.storage.proof_of_damage import not_read

T = TypeVar("T")

_LOOK_SECS = 0.01
_PATIENCE_SECS = 5.0


def _order(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.attempt, checkpoint.step


class StoredRun:
    """A run on disk; each property reads the disk again.

    Args:
        layout: the run.
    """

    def __init__(self, layout: RunLayout) -> None:
        self.layout = layout

    @property
    def directory(self) -> Path:
        return self.layout.root

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The committed checkpoints, oldest first."""
        return list_checkpoints(self.layout)

    @property
    def journal(self) -> list[Event]:
        """The events of all attempts, in the order of time."""
        return list(self.journal_view.events)

    @property
    def journal_view(self) -> JournalView:
        """The journal, with the lines that could not be read."""
        return read_journal(self.layout)

    def find(
        self, which: int | str = "latest", *, monitor: str | None = None, mode: ModeOrAuto = "auto"
    ) -> Checkpoint:
        """Find one checkpoint by step, or the latest or the best one.

        Args:
            which: a step, `"latest"` or `"best"`.
            monitor: for `"best"`: the metric; by default `val_loss`, or `loss` if there is no
                `val_loss`.
            mode: for `"best"`: `"min"` or `"max"`; by default it is inferred for the names of
                Keras' own metrics.

        Returns:
            The checkpoint. If several have this step, the one of the highest attempt. If the latest
                is damaged, the one before it, with a warning.

        Raises:
            CheckpointNotFoundError: If there is no such checkpoint.
            ConfigError: If `mode` is invalid, or cannot be inferred for `"best"`.
            CorruptCheckpointError: If the manifest of the requested step is damaged.
            StorageError: If the directory or the requested manifest cannot be read.
        """
        if not isinstance(which, str) and (number := whole_number(which)) is not None:
            which = number  # by type: tensors compare element by element
        given_or_inferred("find", monitor or "loss", mode)
        while True:
            checkpoints = self.checkpoints
            try:
                return self._find(checkpoints, which, monitor, mode)
            except (CheckpointNotFoundError, CorruptCheckpointError):
                if all(checkpoint.path.exists() for checkpoint in checkpoints):
                    raise  # otherwise training has removed one meanwhile, and a newer one exists

    def _find(
        self, checkpoints: list[Checkpoint], which: int | str, monitor: str | None, mode: ModeOrAuto
    ) -> Checkpoint:
        if which == "latest":
            return self._latest(checkpoints)
        if which == "best":
            return self._best([c for c in checkpoints if c.problem is None], monitor, mode)
        matching = [c for c in checkpoints if str(c.step) == str(which)]
        if not matching:
            steps = ", ".join(str(step) for step in sorted({c.step for c in checkpoints})) or "none"
            raise CheckpointNotFoundError(
                f"{self.directory} has no checkpoint of step {which!r}. Expected one of: {steps}, "
                f"'latest' or 'best'."
            )
        _ = matching[-1].manifest  # never replace a damaged checkpoint silently by another one
        return matching[-1]

    @contextmanager
    def reading(
        self, which: int | str = "latest", *, monitor: str | None = None, mode: ModeOrAuto = "auto"
    ) -> Iterator[Checkpoint]:
        """Keep training from removing one checkpoint while the block runs.

        This writes a small file into the run directory. If this process may not write there, the
        checkpoint may disappear; see `read`.

        Args:
            which, monitor, mode: as in `find`.

        Returns:
            A context manager whose value is the checkpoint.

        Raises:
            CheckpointNotFoundError, CorruptCheckpointError, StorageError: As for `find`.

        Example:
            >>> import ckptkit
            >>> with ckptkit.open_run("runs/digits").reading() as checkpoint:
            ...     sorted(path.name for path in checkpoint.path.iterdir())[0]
            'ckpt-2.data-00000-of-00001'
        """
        with self.holding(lambda: self.find(which, monitor=monitor, mode=mode)) as checkpoint:
            yield checkpoint

    @contextmanager
    def holding(self, choose: Callable[[], Checkpoint]) -> Iterator[Checkpoint]:
        """Keep training from removing the checkpoint that `choose` returns; see `reading`.

        If training removes that checkpoint first, `choose` is called again.
        """
        patience = time.monotonic() + _PATIENCE_SECS
        while True:
            checkpoint = choose()
            with held(self.layout, checkpoint.name):
                # A mark that stays longer was left by an owner that died during the removal.
                leaving = is_leaving(self.layout, checkpoint.name) and time.monotonic() < patience
                if checkpoint.path.is_dir() and not leaving:
                    yield checkpoint
                    return
            time.sleep(_LOOK_SECS)

    def read(
        self,
        action: Callable[[Checkpoint], T],
        which: int | str = "latest",
        *,
        monitor: str | None = None,
        mode: ModeOrAuto = "auto",
    ) -> T:
        """Call a function with one checkpoint; if it is removed meanwhile, call it with another.

        A checkpoint can disappear only if this process may not write into the run directory,
        because training then does not know about the reader.

        Args:
            action: the function, which may be called several times.
            which, monitor, mode: as in `find`.

        Returns:
            The result of the function.

        Raises:
            CheckpointNotFoundError, CorruptCheckpointError, StorageError: As for `find`. Also any
                error of the function if the checkpoint still exists.
        """
        while True:
            with self.reading(which, monitor=monitor, mode=mode) as checkpoint:
                try:
                    return action(checkpoint)
                except Exception:
                    if checkpoint.path.is_dir():
                        raise

    def follow(
        self,
        after_step: int | None = None,
        timeout_secs: float | None = None,
        *,
        poll_secs: float = 0.5,
        clock: Clock | None = None,
    ) -> Iterator[Checkpoint]:
        """Yield each committed checkpoint once, oldest first, and wait for new ones.

        The loop ends with the checkpoint at the end of training. Training does not remove a
        checkpoint while the loop body uses it (see `reading`). Checkpoints that are saved and
        removed during the body are skipped.

        Args:
            after_step: yield only checkpoints that are newer than the one of this step; by default
                all existing ones come first.
            timeout_secs: stop after this many seconds without a new checkpoint; by default only at
                the end of training.
            poll_secs: the seconds between two polls.
            clock: gives the time.

        Yields:
            The checkpoints, one after the other.

        Raises:
            StorageError: If the directory cannot be read.

        Example:
            >>> import ckptkit
            >>> run = ckptkit.open_run("runs/digits")
            >>> [checkpoint.step for checkpoint in run.follow(timeout_secs=0)]
            [1, 2]
        """
        clock = clock or SystemClock()
        last = max(
            (
                _order(each)
                for each in self.checkpoints
                if after_step is not None and each.step <= after_step
            ),
            default=(0, -1),
        )
        began = clock.monotonic()
        patience = began + _PATIENCE_SECS
        while True:
            new = next(
                (each for each in self.checkpoints if _order(each) > last and each.problem is None),
                None,
            )
            if new is not None:
                with held(self.layout, new.name):
                    leaving = is_leaving(self.layout, new.name) and clock.monotonic() < patience
                    if new.path.is_dir() and not leaving:
                        yield new
                        if new.head.final:
                            return
                if leaving:
                    clock.sleep(poll_secs)
                else:
                    last, began = _order(new), clock.monotonic()
                    patience = began + _PATIENCE_SECS
            elif timeout_secs is not None and clock.monotonic() - began >= timeout_secs:
                return
            else:
                clock.sleep(poll_secs)

    def _latest(self, checkpoints: list[Checkpoint]) -> Checkpoint:
        for checkpoint in reversed(checkpoints):
            try:
                _ = checkpoint.manifest
            except CorruptCheckpointError as error:
                if not checkpoint.path.exists():
                    raise
                logger.warning(
                    "%s is damaged, so the checkpoint before it is used: %s", checkpoint.name, error
                )
            else:
                return checkpoint
        raise CheckpointNotFoundError(f"{self.directory} contains no readable checkpoint.")

    def _best(
        self, checkpoints: list[Checkpoint], monitor: str | None, mode: ModeOrAuto
    ) -> Checkpoint:
        if not checkpoints:
            raise CheckpointNotFoundError(f"{self.directory} contains no readable checkpoint.")
        candidates = [checkpoint.candidate for checkpoint in checkpoints]
        for metric in [monitor] if monitor else ["val_loss", "loss"]:
            if ranked := rank(candidates, metric, required("find('best')", metric, mode)):
                return next(c for c in checkpoints if str(c.name) == ranked[0].name)
        known = sorted({name for c in candidates for name in c.metrics})
        raise CheckpointNotFoundError(
            f"No checkpoint in {self.directory} has a finite {monitor or 'val_loss or loss'}. "
            f"Metrics there: {known}."
        )


def is_run(directory: str | os.PathLike[str]) -> bool:
    """Return whether a directory is a run, by the names of its journals and checkpoints.

    The names are checked because other programs also use a directory `checkpoints/`.
    """
    layout = RunLayout(path_to_read(run_layout(directory).root))
    return _has(layout.journal, is_journal) or _has(
        layout.checkpoints, lambda name: CheckpointName.parse(name) is not None
    )


def _has(directory: Path, is_ours: Callable[[str], bool]) -> bool:
    try:
        return any(is_ours(path.name) for path in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        return directory.is_dir()  # unknown: code that reads the run gets the error


def open_run(directory: str | os.PathLike[str]) -> StoredRun:
    """Open a run for reading: no TensorFlow, no lock, no write.

    Args:
        directory: the run directory.

    Returns:
        The run, with `checkpoints` and `journal`.

    Raises:
        CheckpointNotFoundError: If there is no run.
        StorageError: If the directory cannot be read.

    Example:
        >>> import ckptkit
        >>> run = ckptkit.open_run("runs/digits")
        >>> [checkpoint.step for checkpoint in run.checkpoints]
        [1, 2]
    """
    layout = RunLayout(path_to_read(run_layout(directory).root))
    try:
        return _open(layout)
    except PermissionError as error:
        raise StorageError(
            error.errno,
            f"Could not read {layout.root}: permission denied. Ask its owner for read permission.",
        ) from error
    except CheckpointError:
        raise
    except OSError as error:
        raise not_read(layout.root, error.errno, error.strerror or str(error)) from error


def _open(layout: RunLayout) -> StoredRun:
    if not layout.root.exists():
        raise CheckpointNotFoundError(
            f"The directory {layout.root} does not exist. Expected a run directory: the one that "
            f"was passed to CheckpointCallback or CheckpointManager."
        )
    if not layout.root.is_dir():
        raise CheckpointNotFoundError(f"{layout.root} is a file. Expected a run directory.")
    if not is_run(layout.root):
        raise CheckpointNotFoundError(
            f"{layout.root} is not a run directory: it has neither checkpoints/ nor journal/ of a "
            f"run. Expected the directory that was passed to CheckpointCallback or "
            f"CheckpointManager."
        )
    return StoredRun(layout)
