"""Why a training is to end: each reason with its own deadline, so that one that is withdrawn takes
only its own away. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from ckptkit.launcher.escalation import Escalation, Stage
from ckptkit.launcher.notices.notice import Notice


class StopReasons:
    """What was told while the launcher runs, and until when the training has to have ended by all
    of it together.

    Attributes:
        stage: what was done last to have the training end.
    """

    def __init__(self) -> None:
        self._notices: dict[tuple[str, str], Notice] = {}
        self._deadlines: dict[tuple[str, str], Escalation] = {}
        self._hang: Escalation | None = None
        self.stage: Stage = "asked"

    @property
    def notice(self) -> Notice | None:
        """The first one that still holds, or None."""
        return next(iter(self._notices.values()), None)

    @property
    def escalation(self) -> Escalation | None:
        """What is due when: of all deadlines, the earliest; None where there is none."""
        deadlines = [*self._deadlines.values(), *([self._hang] if self._hang is not None else [])]
        return (
            replace(reduce(Escalation.not_later, deadlines), stage=self.stage)
            if deadlines
            else None
        )

    def add(self, notice: Notice, deadline: Escalation | None = None) -> bool:
        """Another reason, or one that is told again, which never gives more time than before.

        Args:
            notice: why.
            deadline: until when; None where no training has to be ended for it.

        Returns:
            Whether the training does not know it yet, or has less time than it knows.
        """
        key, before = (notice.source, notice.reason), self.escalation
        new = key not in self._notices
        self._notices.setdefault(key, notice)
        if deadline is None:
            return new
        self._deadlines[key] = self._deadlines.get(key, deadline).not_later(deadline)
        return new or before is None or deadline.kill_at < before.kill_at

    def withdraw(self, notice: Notice) -> bool:
        """It does not hold any more; whether it had been told."""
        key = (notice.source, notice.reason)
        self._deadlines.pop(key, None)
        known = self._notices.pop(key, None) is not None
        if self.escalation is None:
            self.stage = "asked"
        return known

    def hangs(self, deadline: Escalation) -> None:
        """The training does not get on, and is to end for that."""
        self._hang = deadline

    def ended(self) -> None:
        """The training has ended: all deadlines were its own."""
        self._deadlines, self._hang, self.stage = {}, None, "asked"
