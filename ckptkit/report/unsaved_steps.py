"""What is known of steps that a killed process could not report, in words. Pure.

The last line of the journal before a kill is a lower bound, and is shown as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.report.attempt_ledger import Attempt


def at_least(steps: int, *, left_no_word: bool) -> str:
    """Return a number of steps; with a plus sign, or as `?` for 0, if there may be more.

    Args:
        steps: that are known.
        left_no_word: whether a killed process may have done more.
    """
    if not left_no_word:
        return f"{steps:,}"
    return f"{steps:,}+" if steps else "?"


def died_unsaved(*, trained: bool, saves: int, steps_done: int, last_step: int) -> str:
    """Return what became of the steps of a process that was killed; empty if it had saved some.

    Args:
        trained: whether it had begun a step.
        saves: checkpoints that it had committed.
        steps_done: steps that it is known to have done.
        last_step: the last of them.
    """
    if not trained or saves:
        return ""
    reached = (
        f"at step {last_step:,} or later" if steps_done else "after an unknown number of steps"
    )
    return f"it died before its first save, {reached}"


def earlier_unsaved(attempts: Sequence[Attempt]) -> list[str]:
    """Return a sentence for each attempt that was killed before its first save.

    Args:
        attempts: of the present life.
    """
    return [
        f"attempt {attempt.number} {attempt.cause}"
        for attempt in attempts
        if attempt.left_no_word and not attempt.saves
    ]
