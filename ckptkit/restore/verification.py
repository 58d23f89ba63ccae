"""Verifies a checkpoint before it is restored, and leaves out what a resume can do without."""

from __future__ import annotations

from functools import partial

from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint, without_damaged_anchors
from ckptkit.run.data_anchor_entry import anchor_file
from ckptkit.run.intact_verdict import IntactVerdict
from ckptkit.run.verify import SECS_PER_GB, Depth, verify, verify_files

_MINIMUM_VERIFY_SECS = 0.5
"""The minimum time to verify a checkpoint, in seconds, so that small ones are read in full."""


def verify_before_restore(
    checkpoint: Checkpoint, depth: Depth = "full", verdict: IntactVerdict | None = None
) -> Checkpoint:
    """Verify a checkpoint to the requested depth, and log if it was not read in full.

    Args:
        checkpoint: the checkpoint to verify.
        depth: `full`, `auto` (in full if the disk is fast enough), or `quick`.
        verdict: the result of a verification a moment ago, by another process. If it is about these
            files as they are now, they are not read again.

    Returns:
        The checkpoint. It is without damaged anchors if batches can be counted without them.

    Raises:
        CorruptCheckpointError: If it is damaged.
        StorageError: If the system refuses to read.
    """
    if verdict is not None and verdict.holds_for(checkpoint):
        return checkpoint
    usable, damage = without_damaged_anchors(checkpoint, partial(_verify_to_depth, depth=depth))
    for error in damage:
        logger.warning(
            "%s: %s That file is an anchor, and a resume does without it: it reads the batches of "
            "the data again from the start of the pass. Other checkpoints may share the file",
            checkpoint.name,
            error,
        )
    return usable


def _verify_to_depth(checkpoint: Checkpoint, depth: Depth) -> None:
    # "auto" limits the time for each GB. On a slower disk, TensorFlow's own checks cover the rest.
    size_gb = checkpoint.manifest.size_bytes / 1e9
    budget_secs = max(_MINIMUM_VERIFY_SECS, SECS_PER_GB * size_gb) if depth == "auto" else None
    done = verify(checkpoint, quick=depth == "quick", budget_secs=budget_secs)
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
    anchors = [each for each in checkpoint.manifest.files if anchor_file(each.name)]
    if anchors and not done.in_full:
        verify_files(checkpoint.path, anchors, files=checkpoint.files)
