"""Verifies a checkpoint before it is restored, and leaves out what a resume can do without."""

from __future__ import annotations

from functools import partial

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint, without_damaged_anchors
from ckptkit.run.data_anchor_entry import anchor_file
from ckptkit.run.intact_verdict import IntactVerdict
from ckptkit.run.verify import SECS_PER_GB, Depth, reading_budget_secs, verify, verify_files

LEAST_BYTES = 1_000_000
"""The size of a checkpoint, in bytes, below which it is always cheap to compare digests."""


def verify_before_restore(
    checkpoint: Checkpoint, depth: Depth = "full", verdict: IntactVerdict | None = None
) -> Checkpoint:
    """Verify a checkpoint to the requested depth, and log if it was not read in full.

    Args:
        checkpoint: the checkpoint to verify.
        depth: `full`, `auto` (in full if the disk is fast enough), or `quick`.
        verdict: the result of a verification a moment ago, by another process. Files that are still
            as they were then are not read again, except by `full`.

    Returns:
        The checkpoint. It is without damaged anchors if batches can be counted without them.

    Raises:
        CorruptCheckpointError: If it is damaged.
        StorageError: If the system refuses to read.
    """
    known = None if depth == "full" else verdict
    usable, damage = without_damaged_anchors(
        checkpoint, partial(_verify_to_depth, depth=depth, verdict=known)
    )
    for error in damage:
        logger.warning(
            "%s: %s That file is an anchor, and a resume does without it: it reads the batches of "
            "the data again from the start of the pass. Other checkpoints may share the file",
            checkpoint.name,
            error,
        )
    return usable


def verify_before_reading(
    checkpoint: Checkpoint, depth: Depth, verdict: IntactVerdict | None
) -> Checkpoint:
    """Verify a checkpoint whose values the caller reads next, before it changes anything.

    TensorFlow compares each value with its checksum. So `auto` does not compare the digests of the
    same bytes, which would be a second pass over them. Small files and anchors are compared.

    Args:
        checkpoint, depth, verdict: as for `verify_before_restore`.

    Raises:
        CorruptCheckpointError, StorageError: As for `verify_before_restore`.
    """
    is_large = checkpoint.manifest.size_bytes >= LEAST_BYTES
    return verify_before_restore(
        checkpoint, "quick" if depth == "auto" and is_large else depth, verdict
    )


def damage_by_file(checkpoint: Checkpoint, error: CorruptCheckpointError) -> CorruptCheckpointError:
    """Return the error that names the damaged file, which TensorFlow's errors do not.

    Args:
        checkpoint: the damaged checkpoint.
        error: the error with which reading has failed. It is returned if no digest differs.
    """
    if not error.file:
        try:
            verify(checkpoint)
        except CorruptCheckpointError as found:
            return found
        except StorageError:
            pass
    return error


def _verify_to_depth(checkpoint: Checkpoint, depth: Depth, verdict: IntactVerdict | None) -> None:
    entries = checkpoint.manifest.files
    if verdict is not None:
        entries = verdict.unknown(checkpoint, entries)
    # "auto" limits the time for each GB. On a slower disk, TensorFlow's own checks cover the rest.
    size_bytes = checkpoint.manifest.size_bytes
    done = verify_files(
        checkpoint.path,
        entries,
        quick=depth == "quick",
        budget_secs=reading_budget_secs(size_bytes) if depth == "auto" else None,
        files=checkpoint.files,
    )
    if depth == "auto" and not done.in_full:
        logger.info(
            "%s: sizes and index are right, but not all bytes were verified, because reading "
            "takes longer than %g s per GB here. TensorFlow checks each tensor when it reads it; "
            "verify='full' reads all bytes first",
            checkpoint.name,
            SECS_PER_GB,
        )
    # Anchors are always read in full, because there may be another way than to restore them, but
    # not any more when TensorFlow reads them.
    anchors = [each for each in entries if anchor_file(each.name)]
    if anchors and not done.in_full:
        verify_files(checkpoint.path, anchors, files=checkpoint.files)
