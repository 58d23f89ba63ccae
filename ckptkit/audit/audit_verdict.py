"""Decides the verdict of an audit from the differences that it has found. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from ckptkit.audit.first_difference import TrainingResult

Verdict = Literal["exact", "inexact", "not_reproducible", "untested"]
"""The possible results of an audit.

`exact`: the interrupted training ended with the same bits. `inexact`: the interruptions changed the
result. `not_reproducible`: two uninterrupted trainings also differ, so the effect of interruptions
cannot be measured. `untested`: no attempt restored a checkpoint, so equal bits prove nothing."""


def differs_before_an_interruption(
    results: Sequence[TrainingResult], first_attempts: Mapping[str, int]
) -> bool:
    """Return whether the trainings already differ before the first interruption.

    Args:
        results: the results of the interrupted training.
        first_attempts: for each run, the number of the attempt that ran before any interruption.
    """
    return any(
        result.first is not None and result.first.attempt == first_attempts.get(result.run)
        for result in results
    )


def verdict(
    results: Sequence[TrainingResult],
    again: Sequence[TrainingResult] | None,
    *,
    early: bool = False,
    restored: bool = True,
) -> Verdict:
    """Return the verdict of an audit, from the differences that it has found.

    Without a difference it is `exact`, or `untested` if nothing was restored. It is
    `not_reproducible` if the trainings differed before any interruption, or only in places where
    two uninterrupted trainings differ too. Otherwise it is `inexact`.

    Args:
        results: the comparisons of the interrupted training with the uninterrupted one.
        again: the comparisons of two uninterrupted trainings; None if only one was run.
        early: whether the interrupted training differed before its first interruption.
        restored: whether the interrupted training restored a checkpoint at least once.
    """
    if not any(result.names for result in results):
        return "exact" if restored else "untested"
    itself = {(result.run, name) for result in again or () for name in result.names}
    blamed = {(result.run, name) for result in results for name in result.names} - itself
    return "not_reproducible" if early or not blamed else "inexact"
