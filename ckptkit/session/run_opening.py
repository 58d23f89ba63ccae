"""Opens a run for training: takes the lock, numbers the attempt, recovers, opens the journal."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from ckptkit.mirror.mirror_session import MirrorSession
from ckptkit.ownership.fenced_file_system import FencedFiles
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.fresh_start import (
    labels_to_record,
    make_checkpoints,
    set_aside_earlier_lives,
)
from ckptkit.run.journal import DeferredJournal, next_attempt
from ckptkit.run.run_recovery import recover, shut_out_the_silent
from ckptkit.run.save_target import SaveContext
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.session.attempt_description import attempt_started
from ckptkit.session.directory_check import check_directory
from ckptkit.session.initial_source_check import check_source_elsewhere
from ckptkit.session.monitor_directions import with_directions
from ckptkit.session.options import RunOptions
from ckptkit.session.phase import PhaseMachine
from ckptkit.storage.mounts import warn_about_bucket_mount


@dataclass(frozen=True)
class OpenedRun:
    """The result of opening a run: what a session needs while this process owns the run.

    Args:
        options: the options of the run. Before each change, their `files` check that this process
            still owns the run.
        target: where the checkpoints of this attempt are written, with its journal.
        phases: the phases of the session; their stopwatch has run since the attempt began.
        fresh_labels: the labels of all fresh starts of the run; None if they are not known for
            certain.
        mirror: the mirror of the run, or None.
    """

    options: RunOptions
    target: SaveContext
    phases: PhaseMachine
    fresh_labels: tuple[str, ...] | None
    mirror: MirrorSession | None = None


def open_run(options: RunOptions, resources: ExitStack) -> OpenedRun:
    """Open the run: take its lock, number the attempt, recover, and start the journal.

    Args:
        options: the options of the run.
        resources: receives everything that has to be released at the end. If this function fails,
            the caller releases what was added so far.

    Raises:
        ConfigError: If a policy compares a metric of unknown direction, a file has the name of the
            directory, another program wrote the checkpoints, or `init_from` names this run.
        RunLockedError: If another process trains this run.
        StorageError: If the disk refuses.
        ThreadRefusedError: If the system allows no thread for the lock.
    """
    # Before any change on disk, because the user may have to give the direction of a metric.
    options = with_directions(options)
    layout, clock = options.layout, options.clock
    check_directory(layout)
    check_source_elsewhere(layout, options.init_from)
    mirror = None
    if options.mirror is not None:
        mirror = MirrorSession(options.mirror, layout, options.files, clock)
    # Also before any change on disk: the place on the store may be wrong.
    least = mirror.look() if mirror else 1
    make_checkpoints(options.files, layout)
    warn_about_bucket_mount(layout.root)
    # The attempt gets the number of the claim. Journals may be older than all claims, and no two
    # attempts may have the same number.
    least = max(least, next_attempt(layout, options.files))
    lock = RunLock(options.files, layout, clock, at_least=least)
    resources.callback(lock.release)
    lock.keep_alive()
    if mirror:
        # Before recovery: what is fetched belongs to the run like everything else in it.
        mirror.claim(lock.number, resources)
    # From here on, each change first checks the ownership: this process may be paused, and continue
    # after another process has taken over the run.
    check = partial(_check_owned, lock, mirror) if mirror else lock.check
    options = replace(options, files=FencedFiles(options.files, check))
    # On a full disk the journal gets space only after `recover` has removed leftovers of killed
    # saves, and only the owner of the run may do that.
    journal = DeferredJournal(options.files, layout, clock, lock.number)
    started = attempt_started()
    phases = PhaseMachine(clock.monotonic)
    resources.callback(phases.close)
    journal.record_durable(started)
    recover(options.files, layout, journal, lock)
    journal.require()
    if options.fresh is not None:
        set_aside_earlier_lives(options.files, layout, journal, options.fresh)
        # The fence file was moved away together with the earlier checkpoints.
        shut_out_the_silent(options.files, layout, lock)
    labels = labels_to_record(layout, options.files)
    # Earlier claims are removed last. If recovery is interrupted, the next owner still needs them.
    lock.settle()
    if mirror:
        mirror.start(journal, options.keep, resources)
    index = CheckpointIndex(layout, lock.number)
    target = SaveContext(options.files, index, journal, options.keep)
    return OpenedRun(options, target, phases, labels, mirror)


def _check_owned(lock: RunLock, mirror: MirrorSession) -> None:
    """Check that this process still owns the run, in its directory and on the object store.

    Raises:
        RunLockedError: If another process has taken it.
    """
    lock.check()
    mirror.check()
