"""Finds, verifies and restores the newest good checkpoint of a run.

Damaged checkpoints that it finds are moved to quarantine and reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.log import logger
from ckptkit.policies.metric_order import all_finite
from ckptkit.restore.assign import check_compatible, restore_state
from ckptkit.restore.verification import verify_before_restore
from ckptkit.run.checkpoint_catalog import (
    Checkpoint,
    list_checkpoints,
)
from ckptkit.run.events import Event, Failed, Restored, RolledBack, Saved
from ckptkit.run.fresh_start import this_life
from ckptkit.run.journal import Journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.manifest import LaterFormatError
from ckptkit.run.quarantine import quarantine, quarantined
from ckptkit.storage.files import DISK, FileSystem
from ckptkit.tracking.tracker import Tracked


class DivergedError(ConfigError):
    """Recorded in the journal if training was stopped because of NaN or infinity.

    It is never raised: `fit` returns as in Keras.
    """


def newest_good(
    files: FileSystem,
    layout: RunLayout,
    journal: Journal,
    verify: Callable[[Checkpoint], Checkpoint] = verify_before_restore,
    passed_over: dict[CheckpointName, str] | None = None,
) -> Checkpoint | None:
    """Return the newest checkpoint whose files pass verification, or None for a new run.

    Damaged checkpoints are moved to `quarantine/`. If training was stopped because of NaN or
    infinity, checkpoints that contain such numbers come last. A later rollback cancels that,
    because the user has chosen a checkpoint.

    Args:
        files: changes the disk.
        layout: the paths of the run.
        journal: the journal of this attempt.
        verify: verifies one checkpoint, and returns what of it can be used; by default, it reads
            every byte.
        passed_over: the damaged checkpoints that could not be moved, with the reasons. They are not
            tried again; new ones are added.

    Returns:
        The checkpoint, or None if this run has never saved one.

    Raises:
        CorruptCheckpointError: If the run has saved before but no checkpoint can be read, because
            only the user may decide to start anew. Also if a newer ckptkit wrote the newest one; it
            stays in its place.
        StorageError: If the disk refuses.
    """
    bad = []
    passed_over = {} if passed_over is None else passed_over
    # Saves and stops from before the last fresh start no longer count.
    events = this_life(read_journal(layout, files=files).events)
    for checkpoint in newest_first(layout, events, files):
        if checkpoint.name in passed_over:
            bad.append(f"{checkpoint.name}: {passed_over[checkpoint.name]}")
            continue
        try:
            usable = verify(checkpoint)
        except LaterFormatError:
            raise  # not damaged: an older checkpoint would lose steps without need
        except CorruptCheckpointError as error:
            bad.append(f"{checkpoint.name}: {error}")
            if quarantine(files, layout, journal, checkpoint, error) is None:
                passed_over[checkpoint.name] = str(error)
        else:
            return usable
    # Three signs of earlier training: damaged checkpoints, saves in the journal, and checkpoints in
    # quarantine. Each one forbids a silent start at step 0.
    saved = [event for event in events if isinstance(event, Saved)]
    if bad or saved or quarantined(layout, files):
        why = "\n".join(bad) or (
            f"The journal records a save at step {saved[-1].step}, but there is no checkpoint now."
            if saved
            else f"Its checkpoints are all in {layout.quarantine}."
        )
        raise CorruptCheckpointError(
            f"{layout.root} contains an earlier training of this run, but none of its checkpoints "
            f"can be used. Training does not start again at step 0 by itself.\n{why}\nRestore the "
            f"checkpoints; or to start anew, move {layout.root} away or name another directory."
        )
    return None


def newest_first(
    layout: RunLayout, events: Sequence[Event], files: FileSystem = DISK
) -> list[Checkpoint]:
    """Return a run's checkpoints in the order in which a restore tries them: newest first.

    If training was stopped because of NaN or infinity, checkpoints with such numbers come last.

    Args:
        layout: the paths of the run.
        events: the events since the last fresh start.
        files: how to read the disk.
    """
    # A rollback is the user's choice, so earlier stops no longer count.
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
    # A stable sort, so that both groups stay sorted from new to old.
    return sorted(newest, key=lambda each: _is_poisoned(each, diverged))


def _is_poisoned(checkpoint: Checkpoint, diverged: int) -> bool:
    """Return whether a checkpoint from before a stop contains NaN or infinity.

    Args:
        checkpoint: the checkpoint of the run.
        diverged: the newest attempt that was stopped because of such numbers, or 0.
    """
    return (
        checkpoint.attempt <= diverged
        and checkpoint.problem is None
        and (bool(checkpoint.head.not_finite) or not all_finite(checkpoint.metrics))
    )


def restore_one(
    journal: Journal,
    checkpoint: Checkpoint,
    tracked: Tracked,
    state: Mapping[str, Any],
    values: dict[str, dict[str, tf.Tensor]],
    began: float,
) -> bool:
    """Compare one checkpoint with the state, restore it, and record that in the journal.

    Args:
        journal: the journal of this attempt.
        checkpoint: a verified checkpoint.
        tracked: the leaves of the live state.
        state: the user's state, by name.
        values: its values, as `read_state` returns them.
        began: when reading them began, on the monotonic clock.

    Returns:
        Whether a constant of a layer has changed, so that a traced step is outdated.

    Raises:
        CorruptCheckpointError: If an anchor cannot be read; nothing was assigned.
        IncompatibleStateError: If the live state does not match; nothing was assigned.
    """
    # All comparisons come first, so that one error shows all differences.
    check_compatible(checkpoint, tracked, state)
    constants_changed = restore_state(checkpoint, tracked, values)
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
