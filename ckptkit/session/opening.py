"""Taking a run to train it: the lock, a number, a journal, and what a dead process left put in
order.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout, journal_attempt
from ckptkit.log import logger
from ckptkit.ownership.fenced_files import FencedFiles
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run import events
from ckptkit.run.catalog import list_checkpoints
from ckptkit.run.fresh_start import make_checkpoints, set_aside_earlier_lives
from ckptkit.run.journal import Journal, next_attempt, start_journal
from ckptkit.run.library_versions import versions
from ckptkit.run.recover import recover, shut_out_the_silent
from ckptkit.session.options import RunOptions
from ckptkit.session.stopwatch import Stopwatch
from ckptkit.storage.files import storage_errors
from ckptkit.storage.mounts import say_what_a_bucket_lacks


@dataclass(frozen=True)
class OpenedRun:
    """A run that this process has taken.

    Args:
        plan: of the attempt; its files ask before each change whether the run is still its own.
        journal: of the attempt.
        lock: to let go of.
        stopwatch: what the time goes into since then.
    """

    plan: RunOptions
    journal: Journal
    lock: RunLock
    stopwatch: Stopwatch


def open_run_to_train(plan: RunOptions) -> OpenedRun:
    """Takes the run.

    Raises:
        ConfigError: where a file is in the way, or another program's checkpoints are.
        RunLockedError: where another process trains this run.
        StorageError: where the disk refuses.
    """
    layout = plan.layout
    _check_directory(layout)
    make_checkpoints(plan.files, layout)
    say_what_a_bucket_lacks(layout.root)
    lock = RunLock(plan.files, layout, plan.clock, at_least=next_attempt(layout))
    lock.keep_alive()
    try:
        plan = replace(plan, files=FencedFiles(plan.files, lock.check))
        journal = start_journal(plan.files, layout, plan.clock, lock.number)
        started = events.AttemptStarted(
            host=socket.gethostname(),
            pid=os.getpid(),
            program=Path(sys.argv[0]).name,
            versions=versions(),
            scheduler=_scheduler(),
            process_started=_process_started(),
        )
        stopwatch = Stopwatch(plan.clock.monotonic)
        journal.record_durable(started)
        recover(plan.files, layout, journal, lock)
        if plan.fresh is not None:
            set_aside_earlier_lives(plan.files, layout, journal, plan.fresh)
            shut_out_the_silent(
                plan.files, layout, lock
            )  # the fence was moved away with what it is for
        lock.settle()
    except BaseException:
        lock.release()
        raise
    return OpenedRun(plan, journal, lock, stopwatch)


_has_opened: set[int] = set()


def _process_started() -> float | None:
    """When this process began, in seconds since the epoch, where what it has done since then
    belongs to this run: it has opened none before, and runs a program, not what somebody types.
    None where the system does not tell, too, as in a sandbox with the `/proc` of outside.
    """
    first, known = os.getpid() not in _has_opened, hasattr(sys.modules.get("__main__"), "__file__")
    _has_opened.add(os.getpid())
    try:
        return float(psutil.Process().create_time()) if first and known else None
    except psutil.Error as error:
        logger.debug("it is not known when this process began: %s", error)
        return None


def _check_directory(layout: RunLayout) -> None:
    """Checks that a run may live in a directory.

    Raises:
        ConfigError: where a file is in the way, or another program's checkpoints are.
    """
    with storage_errors("look at", layout.root):
        for path in (layout.root, layout.checkpoints, layout.journal):
            if path.exists() and not path.is_dir():
                raise ConfigError(
                    f"{path} is a file; a run needs a directory there. Move the file away, or "
                    "name another directory."
                )
        trained = layout.journal.is_dir() and any(
            journal_attempt(path.name) for path in layout.journal.iterdir()
        )  # a launcher comes before
        anothers = layout.state_file.exists() and not trained and not list_checkpoints(layout)
    if anothers:
        raise ConfigError(
            f"{layout.checkpoints} holds checkpoints that another program wrote. Name another "
            "directory for this run."
        )


def _scheduler() -> dict[str, str]:
    """Slurm's own numbers of this job, which say how often it was restarted."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}
