"""Decides whether a training is exact, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from ckptkit.audit.first_difference import TrainingResult

Verdict = Literal["exact", "inexact", "not_reproducible"]
"""The interrupted training ends with the bits of the other one; it does not, and that comes of the
interruptions; or what is different is different between two uninterrupted trainings, too, so that
nothing can be said of the interruptions."""


def differs_before_an_interruption(
    results: Sequence[TrainingResult], first_attempts: Mapping[str, int]
) -> bool:
    """Return whether the trainings differ already before the first interruption.

    Args:
        results: the results of the interrupted training.
        first_attempts: the number of the attempt in each run that no interruption came before.
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
) -> Verdict:
    """Return the verdict of an audit.

    Args:
        results: the interrupted training beside the uninterrupted one.
        again: a second uninterrupted one beside the first; None if there was none.
        early: whether the interrupted one was different before its first interruption.
    """
    if not any(result.names for result in results):
        return "exact"
    itself = {(result.run, name) for result in again or () for name in result.names}
    blamed = {(result.run, name) for result in results for name in result.names} - itself
    return "not_reproducible" if early or not blamed else "inexact"
