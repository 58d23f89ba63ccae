"""The newest good checkpoint of a run: finds it, verifies it, and restores it.

Bad checkpoints on the way are moved to quarantine and reported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.log import logger
from ckptkit.policies.metric_order import all_finite
from ckptkit.restore.assign import check_compatible, restore_state
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.events import Event, Failed, Restored, RolledBack, Saved
from ckptkit.run.fresh_start import this_life
from ckptkit.run.journal import Journal, read_journal
from ckptkit.run.manifest import LaterFormatError
from ckptkit.run.quarantine import quarantine, quarantined
from ckptkit.run.verify import SECS_PER_GB, Depth, verify
from ckptkit.storage.files import DISK, FileSystem
from ckptkit.tracking.tracker import Tracked

_MINIMUM_VERIFY_SECS = 0.5
"""A small checkpoint is read in full, whatever its time per byte."""


class DivergedError(ConfigError):
    """Recorded in the journal for a training that was stopped because numbers were not finite.

    It is never raised: `fit` returns as it does in Keras.
    """


def newest_good(
    files: FileSystem,
    layout: RunLayout,
    journal: Journal,
    depth: Depth = "full",
    passed_over: dict[CheckpointName, str] | None = None,
) -> Checkpoint | None:
    """Return the newest checkpoint whose files pass verification, or None for a new run.

    Bad checkpoints are moved to `quarantine/`. If training was stopped because numbers were not
    finite, checkpoints that contain such numbers come last. A rollback since then cancels that: the
    user has chosen a checkpoint.

    Args:
        files: changes the disk.
        layout: the paths of the run.
        journal: the journal of this attempt.
        depth: how thoroughly files are verified.
        passed_over: damaged checkpoints that could not be moved, with the reasons. They are not
            tried again, and further ones are added.

    Returns:
        The checkpoint, or None if this run has never saved one.

    Raises:
        CorruptCheckpointError: if the run has saved before, and no checkpoint can be read: a fresh
            start must be the user's own decision. Also if the newest one was written by a later
            ckptkit; it stays in its place.
        StorageError: if the disk refuses.
    """
    bad = []
    passed_over = {} if passed_over is None else passed_over
    # After a fresh start, saves and stops of earlier lives no longer count.
    events = this_life(read_journal(layout, files=files).events)
    for checkpoint in newest_first(layout, events, files):
        if checkpoint.name in passed_over:
            bad.append(f"{checkpoint.name}: {passed_over[checkpoint.name]}")
            continue
        try:
            verify_before_restore(checkpoint, depth)
        except LaterFormatError:
            raise  # not damaged: falling back to an older one would lose steps without need
        except CorruptCheckpointError as error:
            bad.append(f"{checkpoint.name}: {error}")
            if quarantine(files, layout, journal, checkpoint, error) is None:
                passed_over[checkpoint.name] = str(error)
        else:
            return checkpoint
    # Three traces of an earlier life: bad checkpoints now, saves in the journal, and checkpoints
    # that an earlier start has moved to quarantine. Each one forbids a silent start from step 0.
    saved = [event for event in events if isinstance(event, Saved)]
    if bad or saved or quarantined(layout, files):
        why = "\n".join(bad) or (
            f"The journal records a save at step {saved[-1].step}, but there is no checkpoint now."
            if saved
            else f"Its checkpoints are all in {layout.quarantine}."
        )
        raise CorruptCheckpointError(
            f"{layout.root} holds an earlier life of this run, and no checkpoint of it can be "
            f"used. Training does not start again at step 0 over it.\n{why}\nBring the checkpoints "
            f"back; or move {layout.root} away, or name another directory, to start anew."
        )
    return None


def newest_first(
    layout: RunLayout, events: Sequence[Event], files: FileSystem = DISK
) -> list[Checkpoint]:
    """Return a run's checkpoints in the order in which a restore tries them.

    That is newest first. After a training that was stopped for numbers that were not finite, the
    checkpoints with such numbers come last.

    Args:
        layout: the paths of the run.
        events: the events of its present life.
        files: how the disk is read.
    """
    # A rollback is a choice of the user's: stops of attempts until then no longer count.
    chosen = max((event.attempt for event in events if isinstance(event, RolledBack)), default=0)
    stops = [
        event.attempt
        for event in events
        if isinstance(event, Failed)
        and event.error == DivergedError.__name__
        and event.attempt > chosen
    ]
    diverged = max(stops, default=0)
    newest = list_checkpoints(layout, files)[::-1]
    # A stable sort: inside both groups the newest stays first.
    return sorted(newest, key=lambda each: _is_poisoned(each, diverged))


def _is_poisoned(checkpoint: Checkpoint, diverged: int) -> bool:
    """Whether a checkpoint from before a divergence contains numbers that are not finite.

    Args:
        checkpoint: the checkpoint of the run.
        diverged: the newest attempt that was stopped for such numbers, or 0.
    """
    return (
        checkpoint.attempt <= diverged
        and checkpoint.problem is None
        and (bool(checkpoint.head.not_finite) or not all_finite(checkpoint.metrics))
    )


def verify_before_restore(checkpoint: Checkpoint, depth: Depth) -> None:
    """Verify a checkpoint to the requested depth, and log if that is less than everything.

    Args:
        checkpoint: the checkpoint to verify.
        depth: `full`, `auto` (in full if the disk is fast enough), or `quick`.

    Raises:
        CorruptCheckpointError: if it is damaged.
        StorageError: if the system refuses to read.
    """
    # "auto" allows a time for each GB. On a slower disk TensorFlow's own checks do the rest.
    size_gb = checkpoint.manifest.size_bytes / 1e9
    budget_secs = max(_MINIMUM_VERIFY_SECS, SECS_PER_GB * size_gb) if depth == "auto" else None
    done = verify(checkpoint, quick=depth == "quick", budget_secs=budget_secs)
    if depth == "auto" and not done.in_full:
        logger.info(
            "%s: sizes and index are right; the rest was not read to its end, because that takes "
            "longer than %g s per GB here. TensorFlow checks each tensor when it reads it; "
            "verify='full' reads everything first",
            checkpoint.name,
            SECS_PER_GB,
        )


def restore_one(
    journal: Journal, checkpoint: Checkpoint, tracked: Tracked, state: Mapping[str, Any]
) -> bool:
    """Compare, restore and record one checkpoint.

    Args:
        journal: the journal of this attempt.
        checkpoint: a verified checkpoint.
        tracked: the leaves of the live state.
        state: the user's state, by name.

    Returns:
        Whether a constant of a layer has changed, so that a step that was traced before is wrong.

    Raises:
        CorruptCheckpointError: if it cannot be read; nothing was assigned.
        IncompatibleStateError: if the live state has another form; nothing was assigned.
    """
    began = time.monotonic()
    # The whole comparison comes first, so that one error shows all differences.
    check_compatible(checkpoint, tracked, state)
    constants_changed = restore_state(checkpoint, tracked)
    manifest = checkpoint.manifest
    secs = time.monotonic() - began
    journal.record(
        Restored(
            checkpoint=str(checkpoint.name),
            step=manifest.step,
            epoch=manifest.epoch,
            batch=manifest.batch,
            secs=secs,
        )
    )
    logger.info("resumed from %s (%s, read in %.2f s)", manifest.position, checkpoint.path, secs)
    return constants_changed
