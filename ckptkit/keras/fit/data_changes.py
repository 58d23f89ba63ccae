"""Detects that a resume has other training data than the run. Pure."""

from __future__ import annotations

from ckptkit.keras.fit.fit_position import FitPosition


def data_changes(
    then: FitPosition, pipeline: list[str], batches: int | None, evaluations: int
) -> list[str]:
    """Return sentences about differences between the current data and the run's data.

    Args:
        then: the position of the checkpoint, with a description of its data.
        pipeline: the current stages of the data pipeline.
        batches: the current number of batches in an epoch, or None if unknown.
        evaluations: the number of evaluations before this position with the current arguments.

    Returns:
        A sentence for each difference; empty if there is none.
    """
    found = []
    if pipeline != then.pipeline:
        found.append(f"the data's pipeline has changed, from {then.pipeline} to {pipeline}")
    # Checkpoints of the first versions do not contain the number of batches.
    if then.batches is not None and batches != then.batches:
        found.append(
            f"an epoch had {then.batches} batches and has "
            f"{'an unknown number' if batches is None else batches} now"
        )
    if evaluations != len(then.evaluations):
        found.append(
            f"{len(then.evaluations)} evaluations were made before this position, and "
            f"{evaluations} now: validation_data or validation_freq have changed"
        )
    return found
