"""TensorBoard's files of an attempt: the program's own are put in order where the run goes on, and
the run has some of its own.
"""

from __future__ import annotations

import stat
import time
from pathlib import Path

from ckptkit.errors import RunLockedError
from ckptkit.log import logger
from ckptkit.run import events
from ckptkit.run.best_effort import try_record
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.journal import Journal, read_journal
from ckptkit.run.manifest import Manifest
from ckptkit.session.options import RunOptions
from ckptkit.tensorboard.event_file_repair import RepairResult, RepairStart, repair_event_files
from ckptkit.tensorboard.run_summaries import RunSummaries, SaveSummary
from ckptkit.tensorboard.stale_points import RestorePoint, newest_repairing_attempt, writer_attempts

_MOST_TOLD = 20


class TensorBoardHook:
    """What TensorBoard shows of a run.

    Args:
        plan: of the attempt.
        journal: of the attempt.
    """

    def __init__(self, plan: RunOptions, journal: Journal) -> None:
        self._plan, self._journal = plan, journal
        self._board = RunSummaries(plan.files, plan.layout, plan.clock, journal)
        self._at: str | None = None

    def start_from(self, checkpoint: Checkpoint | None) -> None:
        """Takes out what was written after the checkpoint, in the program's files and the run's
        own; once for each.
        """
        at = "" if checkpoint is None else str(checkpoint.name)
        if at == self._at:
            return
        self._at = at
        for directory in filter(None, (self._plan.tensorboard, self._plan.layout.tensorboard)):
            self._repair(directory, checkpoint)

    def _repair(self, directory: Path, checkpoint: Checkpoint | None) -> None:
        began, now = time.monotonic(), self._plan.clock.now()
        restored = None
        if checkpoint is not None:
            restored = RestorePoint(
                checkpoint.name, checkpoint.manifest.saved_at, checkpoint.manifest.final
            )
        try:
            if not _is_there(directory):
                return
            told = read_journal(self._plan.layout).events
            done = repair_event_files(
                self._plan.files,
                directory,
                RepairStart(
                    among=writer_attempts(told, restored),
                    step=None if checkpoint is None else checkpoint.step,
                    settled=newest_repairing_attempt(told, str(directory), restored),
                    mark=restored is None or not restored.final,
                    now=now,
                ),
            )
        except RunLockedError:
            raise  # the run belongs to somebody else now
        except Exception as error:  # whatever it is: curves are not worth a training
            done = RepairResult(left=[f"{directory}: {type(error).__name__}: {error}"])
        for why in done.left[:_MOST_TOLD]:
            logger.warning(
                "TensorBoard may show points there that are no part of the run any more; training "
                "goes on: %s",
                why,
            )
        if done.points:
            logger.info(
                "took %d points out of TensorBoard's files in %s that were written after %s; the "
                "files of before are beside them, as "
                "events.out.before-attempt-%d...",
                done.points,
                directory,
                checkpoint.name if checkpoint is not None else "the start",
                self._journal.attempt,
            )
        if (
            done.points
            or done.left
            or (checkpoint is not None and directory == self._plan.tensorboard)
        ):
            try_record(
                self._journal,
                events.LogsRepaired(
                    directory=str(directory),
                    step=checkpoint.step if checkpoint is not None else 0,
                    files=done.files,
                    points=done.points,
                    left=done.left[:_MOST_TOLD],
                    secs=time.monotonic() - began,
                ),
            )

    def saved(self, manifest: Manifest, stall_secs: float, write_secs: float) -> None:
        """A checkpoint was committed."""
        self._board.saved(
            SaveSummary(
                step=manifest.step,
                saved_at=manifest.saved_at,
                size_bytes=manifest.size_bytes,
                stall_secs=stall_secs,
                write_secs=write_secs,
            )
        )

    def end(self) -> None:
        """Writes what is left to be written."""
        self._board.end()


def _is_there(directory: Path) -> bool:
    """Whether there is such a directory.

    Raises:
        OSError: where that cannot be seen, as on a mount that has gone.
    """
    try:
        return stat.S_ISDIR(directory.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
