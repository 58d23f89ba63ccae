"""Opening a run to train it: the lock, the attempt's number and journal, and recovery."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout, journal_attempt
from ckptkit.ownership.fence import FencedFiles
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.deferred_journal import DeferredJournal
from ckptkit.run.fresh_start import make_checkpoints, set_aside_earlier_lives
from ckptkit.run.journal import Journal, next_attempt
from ckptkit.run.recover import recover, shut_out_the_silent
from ckptkit.session.monitors import with_directions
from ckptkit.session.options import RunOptions
from ckptkit.session.phase import PhaseMachine
from ckptkit.session.process_state import attempt_started
from ckptkit.storage.files import storage_errors
from ckptkit.storage.mounts import warn_about_bucket_mount


@dataclass(frozen=True)
class OpenedRun:
    """A run that this process owns.

    Args:
        options: the options of the run. Before each change, their `files` check that this process
            still owns the run.
        journal: the journal of the attempt.
        phases: the phases of the session; their stopwatch has run since the attempt began.
    """

    options: RunOptions
    journal: Journal
    phases: PhaseMachine


def open_run(options: RunOptions, resources: ExitStack) -> OpenedRun:
    """Open the run: take its lock, number the attempt, start its journal, and recover.

    Args:
        options: the options of the run.
        resources: collects what must be released at the end. If this function fails, the caller
            releases what is on it already.

    Raises:
        ConfigError: If a policy compares a metric of unknown direction, a file is in the way, or
            the checkpoints are those of another program.
        RunLockedError: If another process trains this run.
        StorageError: If the disk refuses.
        ThreadRefusedError: If the system allows no thread for the lock.
    """
    # Before anything is touched: the user may have to give the direction of a metric first.
    options = with_directions(options)
    layout, clock = options.layout, options.clock
    _check_directory(layout)
    make_checkpoints(options.files, layout)
    warn_about_bucket_mount(layout.root)
    # The number of the claim is that of the attempt. Journals may outlive the claims, and an
    # attempt must not get the number of an earlier one.
    lock = RunLock(options.files, layout, clock, at_least=next_attempt(layout, options.files))
    resources.callback(lock.release)
    lock.keep_alive()
    # From here on, every change asks first: a process that was stopped for a while may wake up
    # when the run belongs to another one.
    options = replace(options, files=FencedFiles(options.files, lock.check))
    # On a full disk there is space for the journal only after `recover` has removed what dead saves
    # left, and only the owner of the run may do that.
    journal = DeferredJournal(options.files, layout, clock, lock.number)
    started = attempt_started()
    phases = PhaseMachine(clock.monotonic)
    resources.callback(phases.close)
    journal.record_durable(started)
    recover(options.files, layout, journal, lock)
    journal.require()
    if options.fresh is not None:
        set_aside_earlier_lives(options.files, layout, journal, options.fresh)
        # The fence was moved away with the life that it protects.
        shut_out_the_silent(options.files, layout, lock)
    # Only now: earlier claims are the reason for what recovery did, should it be interrupted.
    lock.settle()
    return OpenedRun(options, journal, phases)


def _check_directory(layout: RunLayout) -> None:
    """Check that a run's directory holds no foreign files or checkpoints.

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
