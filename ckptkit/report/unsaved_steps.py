"""Describes the lost steps of a killed process, whose exact number is unknown. Pure.

The last line of the journal before a kill is a lower bound, and is shown as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.report.attempt_ledger import Attempt


def at_least(steps: int, *, left_no_word: bool) -> str:
    """Return a number of steps as text: `3+`, or `?` for 0, if there may be more.

    Args:
        steps: the number of steps that are known.
        left_no_word: whether there may be more, because the process was killed.
    """
    if not left_no_word:
        return f"{steps:,}"
    return f"{steps:,}+" if steps else "?"


def died_unsaved(*, trained: bool, saves: int, steps_done: int, last_step: int) -> str:
    """Return a sentence about a process that was killed before its first save, else ''.

    Args:
        trained: whether it had begun a step.
        saves: the number of checkpoints that it had committed.
        steps_done: the number of steps that it is known to have done.
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
        attempts: the attempts since the last fresh start.
    """
    return [
        f"attempt {attempt.number} {attempt.cause}"
        for attempt in attempts
        if attempt.left_no_word and not attempt.saves
    ]
