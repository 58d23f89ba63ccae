"""The newest good checkpoint: verified, compared, assigned; what was passed over is moved and said."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.log import logger
from ckptkit.policies.metrics import all_finite
from ckptkit.resume.assign import check_compatible, restore
from ckptkit.save.tracked import Tracked
from ckptkit.store.catalog import Checkpoint, list_checkpoints
from ckptkit.store.commit import set_aside
from ckptkit.store.events import Failed, PassedOver, Restored, Saved
from ckptkit.store.files import FileSystem
from ckptkit.store.fresh import this_life
from ckptkit.store.journal import Journal, read_journal
from ckptkit.store.layout import RunLayout
from ckptkit.store.verify import verify


class DivergedError(ConfigError):
    """What the journal says of a training that was stopped with numbers that are not finite. It is not raised: `fit` returns as it does in Keras."""


def newest_good(files: FileSystem, layout: RunLayout, journal: Journal) -> Checkpoint | None:
    """The newest checkpoint whose files are what they should be. Bad ones are moved to `quarantine/`.

    Where training has diverged and was stopped, those of before that which have such numbers already come last.

    Returns:
        The checkpoint, or None where this run has never saved one.

    Raises:
        CorruptCheckpointError: where the run has saved before, and nothing of it can be read: a fresh start must be the user's own
            decision.
        StorageError: where the disk refuses.
    """
    bad = []
    events = this_life(read_journal(layout).events)
    stops = [event.attempt for event in events if isinstance(event, Failed) and event.error == DivergedError.__name__]
    diverged = max(stops, default=0)
    newest_first = list_checkpoints(layout)[::-1]
    for checkpoint in sorted(newest_first, key=lambda each: _is_poisoned(each, diverged)):
        try:
            verify(checkpoint)
        except CorruptCheckpointError as error:
            bad.append(f"{checkpoint.name}: {error}")
            quarantine(files, layout, journal, checkpoint, str(error))
        else:
            return checkpoint
    saved = [event for event in events if isinstance(event, Saved)]
    if bad or saved or _aside_bad(layout):
        why = "\n".join(bad) or (f"The journal tells of a save at step {saved[-1].step}, but there is no checkpoint now." if saved
                                 else f"Its checkpoints are all in {layout.quarantine}.")
        raise CorruptCheckpointError(
            f"{layout.root} holds an earlier life of this run, and no checkpoint of it can be used. Training does not begin again at "
            f"step 0 over it.\n{why}\nBring the checkpoints back, or move {layout.root} away, or name another directory, to begin anew.")
    return None


def _is_poisoned(checkpoint: Checkpoint, diverged: int) -> bool:
    """Whether a checkpoint has numbers that are not finite, and was written until the attempt in which training was stopped for them."""
    return checkpoint.attempt <= diverged and checkpoint.problem is None and not all_finite(checkpoint.metrics)


def _aside_bad(layout: RunLayout) -> bool:
    return layout.quarantine.is_dir() and any(layout.quarantine.iterdir())


def quarantine(files: FileSystem, layout: RunLayout, journal: Journal, checkpoint: Checkpoint, reason: str) -> None:
    """Moves a checkpoint that cannot be used out of the way; nothing is deleted."""
    moved = set_aside(files, checkpoint.path, layout.quarantine)
    files.sync_dir(layout.checkpoints)
    journal.record(PassedOver(checkpoint=str(checkpoint.name), reason=reason, moved_to=str(moved.relative_to(layout.root))))
    logger.warning("passed over %s, moved it to %s: %s", checkpoint.name, moved, reason)


def restore_one(journal: Journal, checkpoint: Checkpoint, tracked: Tracked, state: Mapping[str, Any]) -> None:
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
    journal.record(Restored(checkpoint=str(checkpoint.name), step=manifest.step, epoch=manifest.epoch, batch=manifest.batch, secs=secs))
    logger.info("resumed from %s (%s, read in %.2f s)", manifest.position, checkpoint.path, secs)
