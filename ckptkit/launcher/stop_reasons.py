"""Keeps the reasons why a training has to end, each with its own deadline. Pure.

So a notice that is cancelled removes only its own deadline.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from ckptkit.launcher.escalation import Escalation, Stage
from ckptkit.launcher.notices.notice import Notice


class StopReasons:
    """The current reasons for a training to end, and the earliest of their deadlines.

    Attributes:
        stage: the last step of the escalation that was done.
    """

    def __init__(self) -> None:
        self._notices: dict[tuple[str, str], Notice] = {}
        self._deadlines: dict[tuple[str, str], Escalation] = {}
        self._hang: Escalation | None = None
        self.stage: Stage = "asked"

    @property
    def notice(self) -> Notice | None:
        """The first current notice, or None."""
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
        """Add a reason; a repeated reason never extends its deadline.

        Args:
            notice: the notice that is the reason.
            deadline: the steps that end the training; None if no training has to be ended.

        Returns:
            Whether the training has to be told: the reason is new, or leaves less time than before.
        """
        key, before = (notice.source, notice.reason), self.escalation
        new = key not in self._notices
        self._notices.setdefault(key, notice)
        if deadline is None:
            return new
        self._deadlines[key] = self._deadlines.get(key, deadline).not_later(deadline)
        return new or before is None or deadline.kill_at < before.kill_at

    def withdraw(self, notice: Notice) -> bool:
        """Remove a cancelled notice; return whether it was known."""
        key = (notice.source, notice.reason)
        self._deadlines.pop(key, None)
        known = self._notices.pop(key, None) is not None
        if self.escalation is None:
            self.stage = "asked"
        return known

    def note_hang(self, deadline: Escalation) -> None:
        """Set the deadline by which a stalled training is ended."""
        self._hang = deadline

    def ended(self) -> None:
        """Remove all deadlines, because the training has ended."""
        self._deadlines, self._hang, self.stage = {}, None, "asked"
