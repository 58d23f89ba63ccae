"""Recovery: what a new owner of a run does before it changes anything else."""

from __future__ import annotations

from functools import partial

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.log import logger
from ckptkit.ownership.late_checkpoint_fence import write_fence
from ckptkit.ownership.reader_leases import remove_dead_leases
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints, list_shut_out
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.checkpoint_state_file import state_file_content, write_state_file
from ckptkit.run.journal import Journal, best_effort
from ckptkit.run.quarantine import quarantine
from ckptkit.run.seed_file import remove_seed_drafts
from ckptkit.storage.files import TEMPORARY, FileSystem, storage_errors

_MOST_BYTES = 16 * 1024 * 1024


def recover(files: FileSystem, layout: RunLayout, journal: Journal, lock: RunLock) -> None:
    """Remove leftovers of dead processes, and fence off a previous owner that may still run.

    Args:
        files: how to change the disk.
        layout: the run.
        journal: the journal of this attempt.
        lock: the lock that this process holds.

    Raises:
        StorageError: If the disk refuses.
    """
    for what in clean_up(files, layout, attempt=partial(best_effort, journal)):
        journal.record(events.CleanedUp(what=what))
        logger.info("%s", what)
    with best_effort(journal, "remove leftovers of dead readers"):
        files.make_dir(layout.pins)
        remove_dead_leases(files, layout)
    with best_effort(journal, "remove leftovers of a dead process in architecture/"):
        clean_architectures(files, layout)
    with best_effort(journal, "remove drafts of a seed that dead processes left"):
        remove_seed_drafts(files, layout)
    # After the cleanup, which restores interrupted replacements: the fence lists all existing
    # checkpoints.
    shut_out_the_silent(files, layout, lock)
    for claim in lock.silent:
        owner = str(claim.owner or "an unknown process")
        journal.record(events.TakenOver(owner=owner))
        logger.warning(
            "took over the run from %s, which gave no sign of life. Its later saves do not count",
            owner,
        )
    for checkpoint in list_shut_out(layout, files):
        late = CorruptCheckpointError(
            "A process committed it after it had lost the run to a later process.", "late"
        )
        quarantine(files, layout, journal, checkpoint, late)
    _mend_state_file(files, layout, journal)


def clean_architectures(files: FileSystem, layout: RunLayout) -> None:
    """Remove the leftovers of a process that was killed while it stored an architecture.

    Raises:
        StorageError: If the disk refuses.
    """
    if layout.architecture.is_dir():
        with storage_errors("list", layout.architecture):
            left = sorted(
                path for path in layout.architecture.iterdir() if path.name.endswith(TEMPORARY)
            )
        for path in left:
            files.remove_file(path)


def _mend_state_file(files: FileSystem, layout: RunLayout, journal: Journal) -> None:
    """Rewrite TensorFlow's state file if it is missing, damaged, or outdated."""
    names = [checkpoint.name for checkpoint in list_checkpoints(layout, files)]
    try:
        is_right = files.read_bounded(layout.state_file, _MOST_BYTES) == state_file_content(names)
    except OSError:
        is_right = False
    if names and not is_right:
        with best_effort(journal, "rewrite TensorFlow's state file"):
            write_state_file(files, layout, names)


def shut_out_the_silent(files: FileSystem, layout: RunLayout, lock: RunLock) -> None:
    """Write a fence, which hides later commits of a silent previous owner.

    If this lock's fence already exists, nothing happens.

    Raises:
        StorageError: If the disk refuses.
    """
    if lock.silent and files.status(layout.fence(lock.number)) is None:
        # Users may move checkpoints back from `aside/` and `quarantine/`, so the fence lists these
        # names too. Moves are synced first: a power loss that undoes one must not make the fence
        # accept a late commit.
        away = [
            directory
            for directory in (layout.quarantine, *layout.aside.glob("*"))
            if directory.is_dir()
        ]
        for directory in (layout.checkpoints, *away):
            files.sync_dir(directory)
        moved = [
            name
            for directory in away
            for path in directory.glob("ckpt-*")
            if (name := CheckpointName.parse(path.name)) is not None
        ]
        write_fence(
            files,
            layout,
            lock.number,
            [*(checkpoint.name for checkpoint in list_checkpoints(layout, files)), *moved],
        )
