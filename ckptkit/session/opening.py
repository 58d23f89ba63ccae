"""Opening a run to train it: the lock, the attempt's number and journal, and recovery."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
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
from ckptkit.session import process
from ckptkit.session.options import RunOptions
from ckptkit.session.phase import PhaseMachine
from ckptkit.storage.files import storage_errors
from ckptkit.storage.mounts import say_what_a_bucket_lacks


@dataclass(frozen=True)
class OpenedRun:
    """A run that this process owns.

    Args:
        options: whose files ask before each change whether the run is still this process's own.
        journal: of the attempt.
        phases: of the session; their stopwatch has run since the attempt began.
    """

    options: RunOptions
    journal: Journal
    phases: PhaseMachine


def open_run(options: RunOptions, resources: ExitStack) -> OpenedRun:
    """Take the run: its lock, an attempt number and a journal; and recover from earlier attempts.

    Args:
        options: of the run.
        resources: gets everything that is to be undone at the end. If this fails, the caller
            undoes what is on it already.

    Raises:
        ConfigError: If a file is in the way, or the checkpoints are those of another program.
        RunLockedError: If another process trains this run.
        StorageError: If the disk refuses.
        CheckpointError: If the system allows no thread for the lock.
    """
    layout, clock = options.layout, options.clock
    _check_directory(layout)
    make_checkpoints(options.files, layout)
    say_what_a_bucket_lacks(layout.root)
    lock = RunLock(options.files, layout, clock, at_least=next_attempt(layout))
    resources.callback(lock.release)
    lock.keep_alive()
    # From here on, every change asks first: a process that was stopped for a while may wake up
    # when the run belongs to another one.
    options = replace(options, files=FencedFiles(options.files, lock.check))
    journal = start_journal(options.files, layout, clock, lock.number)
    started = _attempt_started()
    phases = PhaseMachine(clock.monotonic)
    resources.callback(phases.close)
    journal.record(started)
    recover(options.files, layout, journal, lock)
    if options.fresh is not None:
        set_aside_earlier_lives(options.files, layout, journal, options.fresh)
        # The fence was moved away with the life that it protects.
        shut_out_the_silent(options.files, layout, lock)
    lock.settle()
    return OpenedRun(options, journal, phases)


def _attempt_started() -> events.AttemptStarted:
    return events.AttemptStarted(
        host=socket.gethostname(),
        pid=os.getpid(),
        program=Path(sys.argv[0]).name,
        versions=versions(),
        scheduler=_scheduler(),
        process_started=_process_started(),
    )


def _process_started() -> float | None:
    """Return when this process began, in seconds since the epoch, if that time belongs to the run.

    It does if the process has opened no run before, and runs a program, not what a person types.
    None also if the system does not tell, as in a sandbox with the `/proc` of outside.
    """
    first, known = (
        not process.state.has_opened,
        hasattr(sys.modules.get("__main__"), "__file__"),
    )
    process.state.has_opened = True
    try:
        return float(psutil.Process().create_time()) if first and known else None
    except psutil.Error as error:
        logger.debug("it is not known when this process began: %s", error)
        return None


def _check_directory(layout: RunLayout) -> None:
    """Check that the directory of a run holds nothing else.

    Raises:
        ConfigError: If a file is in the way, or the checkpoints are those of another program.
    """
    with storage_errors("look at", layout.root):
        for path in (layout.root, layout.checkpoints, layout.journal):
            if path.exists() and not path.is_dir():
                raise ConfigError(
                    f"{path} is a file; a run needs a directory there. Move the file away, or "
                    "name another directory."
                )
        # A launcher writes into a journal of its own there, before the first attempt.
        trained = layout.journal.is_dir() and any(
            journal_attempt(path.name) for path in layout.journal.iterdir()
        )
        is_foreign = layout.state_file.exists() and not trained and not list_checkpoints(layout)
    if is_foreign:
        raise ConfigError(
            f"{layout.checkpoints} holds checkpoints that another program wrote. Name another "
            "directory for this run."
        )


def _scheduler() -> dict[str, str]:
    """Return Slurm's numbers of this job, which show how often it was restarted."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}
