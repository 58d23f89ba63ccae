"""Records committed checkpoints and failed saves in the journal and in the log."""

from __future__ import annotations

from ckptkit.errors import StorageError
from ckptkit.log import logger, size
from ckptkit.run.checkpoint_sizes import own_bytes
from ckptkit.run.events import Saved as SavedEvent
from ckptkit.run.events import SaveFailed
from ckptkit.run.manifest import Manifest
from ckptkit.run.save_target import SaveContext


def record_save(
    target: SaveContext,
    written: Manifest,
    shared_bytes: int,
    snapshot_secs: float,
    write_secs: float,
    taken_at: float,
) -> int:
    """Record a committed checkpoint in the journal and in the log.

    Args:
        target: where it was written.
        written: its manifest.
        shared_bytes: the size of its files of values that it shares with the one before, in bytes.
        snapshot_secs: how long training stopped for the snapshot.
        write_secs: how long it took to write it.
        taken_at: when the snapshot was taken, in seconds since the epoch.

    Returns:
        The size of what earlier checkpoints do not have, in bytes.
    """
    # Earlier checkpoints may also have the anchors from which its batches are counted.
    shared_bytes += written.size_bytes - own_bytes(written)
    target.journal.record(
        SavedEvent(
            checkpoint=str(written.name),
            step=written.step,
            epoch=written.epoch,
            batch=written.batch,
            trigger=written.trigger,
            size_bytes=written.size_bytes,
            shared_bytes=shared_bytes,
            snapshot_secs=snapshot_secs,
            write_secs=write_secs,
            metrics=written.metrics,
            final=written.final,
            taken_at=taken_at,
        )
    )
    new_bytes = written.size_bytes - shared_bytes
    line = target.lines.line(written.trigger, new_bytes, taken_at)
    logger.log(
        line.level,
        "saved %s: %s, %s%s in %.2f s%s",
        written.position,
        written.trigger,
        size(written.size_bytes),
        f" ({size(new_bytes)} of them new)" if shared_bytes else "",
        write_secs,
        line.rest,
    )
    if line.warning:
        logger.info(line.warning)
    return new_bytes


def record_failure(target: SaveContext, manifest: Manifest, error: BaseException) -> None:
    """Remove the files of a failed save, and record the failure.

    If that fails too, it is only logged, because the first error is raised.
    """
    try:
        target.files.remove_tree(target.index.layout.writing(manifest.attempt))
        target.journal.record(
            SaveFailed(step=manifest.step, error=type(error).__name__, message=str(error))
        )
    except StorageError as second:
        logger.warning("after a failed save: %s", second)
