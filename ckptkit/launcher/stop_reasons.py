"""Reasons for which a training is to end, each with its own deadline. Pure.

So a notice that is withdrawn cancels only its own deadline.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from ckptkit.launcher.escalation import Escalation, Stage
from ckptkit.launcher.notices.notice import Notice


class StopReasons:
    """Notices that hold, and the time by which the training has to end because of all of them.

    Attributes:
        stage: the last step that was done to end the training.
    """

    def __init__(self) -> None:
        self._notices: dict[tuple[str, str], Notice] = {}
        self._deadlines: dict[tuple[str, str], Escalation] = {}
        self._hang: Escalation | None = None
        self.stage: Stage = "asked"

    @property
    def notice(self) -> Notice | None:
        """The first notice that still holds, or None."""
        return next(iter(self._notices.values()), None)

    @property
    def escalation(self) -> Escalation | None:
        """The earliest of all deadlines; None if there is none."""
        deadlines = [*self._deadlines.values(), *([self._hang] if self._hang is not None else [])]
        return (
            replace(reduce(Escalation.not_later, deadlines), stage=self.stage)
            if deadlines
            else None
        )

    def add(self, notice: Notice, deadline: Escalation | None = None) -> bool:
        """Add a reason. A repeated one never gives more time than before.

        Args:
            notice: why.
            deadline: by when; None if no training has to be ended for it.

        Returns:
            Whether this is news for the training: a new reason, or less time than before.
        """
        key, before = (notice.source, notice.reason), self.escalation
        new = key not in self._notices
        self._notices.setdefault(key, notice)
        if deadline is None:
            return new
        self._deadlines[key] = self._deadlines.get(key, deadline).not_later(deadline)
        return new or before is None or deadline.kill_at < before.kill_at

    def withdraw(self, notice: Notice) -> bool:
        """Remove a notice that holds no longer; return whether it was known."""
        key = (notice.source, notice.reason)
        self._deadlines.pop(key, None)
        known = self._notices.pop(key, None) is not None
        if self.escalation is None:
            self.stage = "asked"
        return known

    def hangs(self, deadline: Escalation) -> None:
        """Add a deadline for a training that makes no progress."""
        self._hang = deadline

    def ended(self) -> None:
        """Remove all deadlines, which were those of a training that has ended."""
        self._deadlines, self._hang, self.stage = {}, None, "asked"
