"""Differences between the data of a run and the data of a resume. Pure."""

from __future__ import annotations

from ckptkit.keras.fit.fit_position import FitPosition


def data_changes(
    then: FitPosition, pipeline: list[str], batches: int | None, evaluations: int
) -> list[str]:
    """Compare the present data with the data of the run.

    Args:
        then: the position that the run had, with what is known of its data.
        pipeline: the stages of the data's pipeline now.
        batches: batches in an epoch now, or None if that is not known.
        evaluations: how many evaluations there were now before this position.

    Returns:
        One reason for each difference, in words; empty if there is none.
    """
    found = []
    if pipeline != then.pipeline:
        found.append(f"the data's pipeline has changed, from {then.pipeline} to {pipeline}")
    # Checkpoints of the first versions do not know how many batches there were.
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
