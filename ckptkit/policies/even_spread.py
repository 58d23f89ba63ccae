"""Policies of an audit that spread checkpoints evenly over a run of unknown length.

The distance between two checkpoints is a power of two that grows with the run: above `MOST`
checkpoints, every second one is removed. So their steps depend only on the position of the run, and
two trainings of the same length keep checkpoints at the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptkit.policies.keep_policies import Candidate, KeepPolicy, Reasons
from ckptkit.policies.save_policies import Moment, SavePolicy

MOST = 16


def distance(step: int) -> int:
    """Return the distance in steps between two checkpoints of a run at `step`.

    Example:
        >>> from ckptkit.policies.even_spread import distance
        >>> distance(16), distance(17), distance(1695)
        (1, 2, 128)
    """
    apart = 1
    while step > MOST * apart:
        apart *= 2
    return apart


@dataclass(frozen=True)
class SpreadSaves(SavePolicy):
    """Save at the first moment after each multiple of a distance.

    Args:
        every: the distance in steps; 0 for one that grows with the run.
    """

    every: int = 0

    def due(self, moment: Moment, last: Moment) -> str | None:
        apart = self.every or distance(moment.position.step)
        return (
            f"audit: every {apart} steps"
            if moment.position.step // apart > last.position.step // apart
            else None
        )

    def insists(self, moment: Moment, last: Moment) -> bool:
        # Never skip this save, because another training is compared at exactly this step.
        return self.due(moment, last) is not None


@dataclass(frozen=True)
class SpreadKeeps(KeepPolicy):
    """Keep the checkpoints that `SpreadSaves` has saved.

    Args:
        every: the distance in steps; 0 for one that grows with the run.
    """

    every: int = 0

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        apart = self.every or distance(max((each.step for each in candidates), default=0))
        firsts: dict[int, int] = {}
        for each in candidates:
            number = each.step // apart
            firsts[number] = min(firsts.get(number, each.step), each.step)
        return {
            each.name: f"audit: every {apart} steps"
            for each in candidates
            if each.step >= apart and firsts[each.step // apart] == each.step
        }

    def most(self) -> int | None:
        return None if self.every else MOST + 1
