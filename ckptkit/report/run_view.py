"""`ckptkit.open_run`: a run to read, with its attempts and goodput."""

from __future__ import annotations

import html
import os

from ckptkit.clock import SystemClock
from ckptkit.errors import CheckpointError
from ckptkit.layout import RunLayout
from ckptkit.report.attempt_ledger import Attempt, Ledger
from ckptkit.report.goodput import Goodput, goodput_of
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.report.notebook_view import run_as_html
from ckptkit.run import stored_run as store


class Run(store.StoredRun):
    """A run on disk; every property reads it afresh.

    Args:
        layout: the layout of its directory.

    Example:
        >>> import ckptkit
        >>> run = ckptkit.open_run("runs/digits")
        >>> run.find("latest").step, run.find(1).step
        (2, 1)
    """

    def __repr__(self) -> str:
        # No reading: a debugger may ask at any moment, and the directory may be gone.
        return f"Run({str(self.directory)!r})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the run."""
        try:
            return run_as_html(self.directory, self.ledger, self.checkpoints)
        except CheckpointError as error:
            return html.escape(f"{self!r}: {error}")

    @property
    def ledger(self) -> Ledger:
        """All attempts, and what they did."""
        return ledger_of(self.journal_view.events, SystemClock().now())

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts in their order; those of earlier lives have a lower `life`."""
        return self.ledger.attempts

    @property
    def goodput(self) -> Goodput | None:
        """Where the wall time of the current life went; None if no process has trained the run."""
        return goodput_of(self.ledger)


def open_run(directory: str | os.PathLike[str]) -> Run:
    """Open a run for reading: no TensorFlow, no lock, no write.

    Args:
        directory: the run directory.

    Returns:
        The run, with `checkpoints`, `journal`, `attempts` and `goodput`.

    Raises:
        CheckpointNotFoundError: If there is no run.
        StorageError: If the directory cannot be read.

    Example:
        >>> import ckptkit
        >>> run = ckptkit.open_run("runs/digits")
        >>> [checkpoint.step for checkpoint in run.checkpoints]
        [1, 2]
        >>> [(attempt.outcome, attempt.steps_done, attempt.steps_lost) for attempt in run.attempts]
        [('finished', 2, 0)]
        >>> 0 <= run.goodput.ratio <= 1
        True
    """
    # Absolute: each property reads the disk again, and the program may change its working
    # directory.
    return Run(RunLayout(store.open_run(directory).directory.absolute()))
