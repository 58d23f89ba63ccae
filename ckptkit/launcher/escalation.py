"""How a training is made to end: asked, then its whole group, then not asked. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Stage = Literal["asked", "group", "killed"]

_LAST_SECS = 1.0
"""Before the machine's end, for the launcher itself."""


@dataclass(frozen=True)
class Escalation:
    """What is due when.

    Args:
        group_at: when all processes of the group are asked, by the monotonic clock.
        kill_at: when all are killed.
        stage: what was done last.
    """

    group_at: float
    kill_at: float
    stage: Stage = "asked"

    def due(self, now: float) -> Stage | None:
        """What is to be done now, or None."""
        if self.stage != "killed" and now >= self.kill_at:
            return "killed"
        return "group" if self.stage == "asked" and now >= self.group_at else None

    def next_at(self) -> float | None:
        """When something is due, or None."""
        return {"asked": self.group_at, "group": self.kill_at, "killed": None}[self.stage]

    def not_later(self, other: Escalation) -> Escalation:
        """Both: whichever is due first counts."""
        return replace(
            self,
            group_at=min(self.group_at, other.group_at),
            kill_at=min(self.kill_at, other.kill_at),
        )


def escalation(now: float, grace_secs: float) -> Escalation:
    """What to do where so many seconds are left: the child itself has been asked just now."""
    kill = max(grace_secs - _LAST_SECS, 0.8 * grace_secs)
    return Escalation(group_at=now + 0.8 * kill, kill_at=now + kill)
