"""Repairs TensorBoard's event files on a resume, and writes points about saves."""

from __future__ import annotations

import stat
import time
from pathlib import Path

from ckptkit.errors import RunLockedError
from ckptkit.log import logger
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.journal import Journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.session.options import RunOptions
from ckptkit.storage.symlinks import leads_out
from ckptkit.tensorboard.event_file_repair import RepairResult, RepairStart, repair_event_files
from ckptkit.tensorboard.run_summaries import RunSummaries
from ckptkit.tensorboard.stale_points import RestorePoint, newest_repairing_attempt, writer_attempts

_MOST_REPORTED = 20
"""The number of problems of one repair that are logged and recorded."""


class TensorBoardHook:
    """Keeps TensorBoard's view of a run consistent over all attempts.

    Args:
        options: the options of the run.
        journal: the journal of the attempt.

    Attributes:
        summaries: the run's own event files, which get a point for each save.
    """

    def __init__(self, options: RunOptions, journal: Journal) -> None:
        self._options, self._journal = options, journal
        self.summaries = RunSummaries(options.files, options.layout, options.clock, journal)
        self._start: str | None = None
        """The checkpoint from which the session continues; empty for a new run."""

    def start_from(self, checkpoint: Checkpoint | None) -> None:
        """Remove points that were written after the checkpoint from which the session continues.

        They are removed from the event files of the program and of the run.
        """
        start = "" if checkpoint is None else str(checkpoint.name)
        if start == self._start:
            return
        self._start = start
        for directory in filter(
            None, (self._options.tensorboard, self._options.layout.tensorboard)
        ):
            self._repair(directory, checkpoint)

    def _repair(self, directory: Path, checkpoint: Checkpoint | None) -> None:
        began = time.monotonic()
        try:
            if not _is_directory(directory):
                return
            own = self._options.layout.tensorboard
            # The files behind the link may belong to another run. Only a directory that the user
            # has named is followed.
            if directory == own and leads_out(self._options.layout.root, own):
                logger.info(
                    "%s is a symbolic link out of the run, so no points are removed there; name "
                    "the directory itself with tensorboard=...",
                    own,
                )
                return
            done = self._repaired(directory, checkpoint)
        except RunLockedError:
            raise  # the run belongs to another process now
        # Whatever it is: a training is worth more than its curves.
        except Exception as error:
            done = RepairResult(left=[f"{directory}: {type(error).__name__}: {error}"])
        self._log(directory, checkpoint, done)
        resumes_own = checkpoint is not None and directory == self._options.tensorboard
        if done.points or done.left or resumes_own:
            self._journal.record(
                events.LogsRepaired(
                    directory=str(directory),
                    step=checkpoint.step if checkpoint is not None else 0,
                    files=done.files,
                    points=done.points,
                    left=done.left[:_MOST_REPORTED],
                    secs=time.monotonic() - began,
                )
            )

    def _repaired(self, directory: Path, checkpoint: Checkpoint | None) -> RepairResult:
        now = self._options.clock.now()
        restored = None
        if checkpoint is not None:
            manifest = checkpoint.manifest
            restored = RestorePoint(checkpoint.name, manifest.saved_at, manifest.final)
        recorded = read_journal(self._options.layout).events
        return repair_event_files(
            self._options.files,
            directory,
            RepairStart(
                among=writer_attempts(recorded, restored),
                step=None if checkpoint is None else checkpoint.step,
                settled=newest_repairing_attempt(recorded, str(directory), restored),
                mark=restored is None or not restored.final,
                now=now,
            ),
        )

    def _log(self, directory: Path, checkpoint: Checkpoint | None, done: RepairResult) -> None:
        for why in done.left[:_MOST_REPORTED]:
            logger.warning(
                "TensorBoard may show points that no longer belong to the run; training "
                "continues: %s",
                why,
            )
        if done.points:
            logger.info(
                "removed %d points from TensorBoard's files in %s, written after %s; the previous "
                "files are kept in the same directory as events.out.before-attempt-%d...",
                done.points,
                directory,
                checkpoint.name if checkpoint is not None else "the start",
                self._journal.attempt,
            )

    def close(self) -> None:
        """Write the last points, and wait a short time for them."""
        self.summaries.end()


def _is_directory(directory: Path) -> bool:
    """Return whether a path is a directory.

    Raises:
        OSError: If the system cannot tell, for example because a mount is lost.
    """
    try:
        return stat.S_ISDIR(directory.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
