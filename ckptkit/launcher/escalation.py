"""Decides when to send SIGTERM to a training, then to its group, and then SIGKILL. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Stage = Literal["asked", "group", "killed"]

_LAST_SECS = 1.0
"""Seconds that the launcher keeps for itself before the machine goes away."""


@dataclass(frozen=True)
class Escalation:
    """The times of the steps that end a training.

    Args:
        group_at: when all processes of the group get SIGTERM, by the monotonic clock.
        kill_at: when all of them get SIGKILL, by the monotonic clock.
        stage: the last step that was done.
    """

    group_at: float
    kill_at: float
    stage: Stage = "asked"

    def due(self, now: float) -> Stage | None:
        """Return the step that is due, or None."""
        if self.stage != "killed" and now >= self.kill_at:
            return "killed"
        return "group" if self.stage == "asked" and now >= self.group_at else None

    def next_at(self) -> float | None:
        """Return when the next step is due, or None if all are done."""
        return {"asked": self.group_at, "group": self.kill_at, "killed": None}[self.stage]

    def not_later(self, other: Escalation) -> Escalation:
        """Return an escalation that has the earlier of both times for each step."""
        return replace(
            self,
            group_at=min(self.group_at, other.group_at),
            kill_at=min(self.kill_at, other.kill_at),
        )


def escalation(now: float, grace_secs: float) -> Escalation:
    """Return the steps for a training that was just asked to stop and has some seconds left."""
    kill = max(grace_secs - _LAST_SECS, 0.8 * grace_secs)
    return Escalation(group_at=now + 0.8 * kill, kill_at=now + kill)
