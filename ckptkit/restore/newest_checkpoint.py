"""The newest good checkpoint: verified, compared, assigned; what was passed over is moved and said."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.policies.metric_order import all_finite
from ckptkit.restore.assign import check_compatible, restore
from ckptkit.run.catalog import Checkpoint, list_checkpoints
from ckptkit.run.events import Event, Failed, Restored, RolledBack, Saved
from ckptkit.run.fresh_start import this_life
from ckptkit.run.journal import Journal, read_journal
from ckptkit.run.manifest import LaterFormatError
from ckptkit.run.quarantine import quarantine, quarantined
from ckptkit.run.verify import SECS_PER_GB, Depth, verify
from ckptkit.storage.files import DISK, FileSystem
from ckptkit.tracking.tracker import Tracked

_LEAST_SECS = 0.5
"""A small checkpoint is read in full, whatever that takes per byte."""


class DivergedError(ConfigError):
    """What the journal says of a training that was stopped with numbers that are not finite. It is
    not raised: `fit` returns as it does in Keras.
    """


def newest_good(
    files: FileSystem, layout: RunLayout, journal: Journal, depth: Depth = "full"
) -> Checkpoint | None:
    """The newest checkpoint whose files are what they should be. Bad ones are moved to
    `quarantine/`.

    Where training has diverged and was stopped, those of before that which have such numbers
    already come last; unless somebody has rolled the run back since then, and so has chosen.

    Args:
        files: how to change the disk.
        layout: the run.
        journal: of this attempt.
        depth: how thoroughly they are verified.

    Returns:
        The checkpoint, or None where this run has never saved one.

    Raises:
        CorruptCheckpointError: where the run has saved before, and nothing of it can be read: a
            fresh start must be the user's own decision. Also where the newest was written by a
            later ckptkit: it is left where it is.
        StorageError: where the disk refuses.
    """
    bad = []
    events = this_life(read_journal(layout, files=files).events)
    for checkpoint in newest_first(layout, events, files):
        try:
            verify_before_restore(checkpoint, depth)
        except LaterFormatError:
            raise
        except CorruptCheckpointError as error:
            bad.append(f"{checkpoint.name}: {error}")
            quarantine(files, layout, journal, checkpoint, error)
        else:
            return checkpoint
    saved = [event for event in events if isinstance(event, Saved)]
    if bad or saved or quarantined(layout, files):
        why = "\n".join(bad) or (
            f"The journal tells of a save at step {saved[-1].step}, but there is no checkpoint now."
            if saved
            else f"Its checkpoints are all in {layout.quarantine}."
        )
        raise CorruptCheckpointError(
            f"{layout.root} holds an earlier life of this run, and no checkpoint of it can be "
            "used. Training does not begin again at "
            f"step 0 over it.\n{why}\nBring the checkpoints back, or move {layout.root} away, or "
            "name another directory, to begin anew."
        )
    return None


def newest_first(
    layout: RunLayout, events: Sequence[Event], files: FileSystem = DISK
) -> list[Checkpoint]:
    """A run's checkpoints in the order in which they are to be tried: newest first, and last those
    until the attempt in which training was stopped for numbers that were not finite, where theirs
    are not.

    Args:
        layout: the run.
        events: of its present life.
        files: how the disk is read.
    """
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
    return sorted(newest, key=lambda each: _is_poisoned(each, diverged))


def _is_poisoned(checkpoint: Checkpoint, diverged: int) -> bool:
    """Whether a checkpoint has numbers that are not finite, and was written until the attempt in
    which training was stopped for them.
    """
    return (
        checkpoint.attempt <= diverged
        and checkpoint.problem is None
        and not all_finite(checkpoint.metrics)
    )


def verify_before_restore(checkpoint: Checkpoint, depth: Depth) -> None:
    """Verifies a checkpoint as far as it was asked for, and says where that is less than all of it.

    Raises:
        CorruptCheckpointError: where it is damaged.
        StorageError: where the system refuses to read.
    """
    size_gb = checkpoint.manifest.size_bytes / 1e9
    budget_secs = max(_LEAST_SECS, SECS_PER_GB * size_gb) if depth == "auto" else None
    done = verify(checkpoint, quick=depth == "quick", budget_secs=budget_secs)
    if depth == "auto" and not done.in_full:
        logger.info(
            "%s: sizes and index are right; the rest was not read to its end, because that takes "
            "longer than %g s per GB here. TensorFlow "
            "checks each tensor when it reads it; verify='full' reads everything first",
            checkpoint.name,
            SECS_PER_GB,
        )


def restore_one(
    journal: Journal, checkpoint: Checkpoint, tracked: Tracked, state: Mapping[str, Any]
) -> None:
    """Compares and restores one checkpoint, and tells.

    Raises:
        CorruptCheckpointError: where it cannot be read; nothing was assigned.
        IncompatibleStateError: where the program's state has another form; nothing was assigned.
    """
    began = time.monotonic()
    check_compatible(checkpoint, tracked, state)
    restore(checkpoint, tracked)
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
