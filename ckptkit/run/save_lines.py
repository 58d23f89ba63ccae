"""Chooses the saves that are worth a line of the log. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ckptkit.log import size

QUIET_SECS = 600
"""The least time between two lines about adaptive saves that are alike, in seconds."""

MUCH_BYTES_PER_DAY = 100_000_000_000
"""The bytes per day above which the log says once how much a run writes."""

_DAY_SECS = 86_400


@dataclass(frozen=True)
class SaveLine:
    """How a save is logged.

    Args:
        level: the level of its line.
        rest: the end of its line.
        warning: a line of its own about all saves, or the empty string.
    """

    level: int
    rest: str = ""
    warning: str = ""


class SaveLines:
    """Chooses a level for each save of an attempt.

    An adaptive save every ten seconds would be 8,640 lines a day. So only three kinds are logged
    at the level `INFO`: the first one, each change of the interval by more than half, and one save
    in ten minutes. All saves that something else has asked for are, too.
    """

    def __init__(self) -> None:
        self._logged_at: float | None = None
        self._logged_apart: float | None = None
        self._last_at: float | None = None
        self._unlogged = 0
        self._has_warned = False

    def line(self, trigger: str, new_bytes: int, taken_at: float) -> SaveLine:
        """Return how a save is logged.

        Args:
            trigger: its reason.
            new_bytes: the bytes that it wrote.
            taken_at: when its snapshot was taken, in seconds since the epoch.
        """
        if not trigger.startswith("adaptive: ") or ";" in trigger:
            return SaveLine(logging.INFO)
        apart = None if self._last_at is None else taken_at - self._last_at
        self._last_at = taken_at
        warning = self._much(new_bytes, apart)
        if not self._is_worth(apart, taken_at):
            self._unlogged += 1
            return SaveLine(logging.DEBUG, warning=warning)
        rest = ""
        if self._unlogged and self._logged_at is not None:
            since = taken_at - self._logged_at
            rest = f"; {self._unlogged + 1} saves in the last {since:.0f} s"
        self._logged_at, self._logged_apart, self._unlogged = taken_at, apart, 0
        return SaveLine(logging.INFO, rest, warning)

    def _is_worth(self, apart: float | None, now: float) -> bool:
        if self._logged_at is None or now - self._logged_at >= QUIET_SECS:
            return True
        if apart is None or self._logged_apart is None:
            return apart != self._logged_apart
        return not self._logged_apart / 2 <= apart <= self._logged_apart * 1.5

    def _much(self, new_bytes: int, apart: float | None) -> str:
        if self._has_warned or apart is None or apart <= 0:
            return ""
        per_day = new_bytes / apart * _DAY_SECS
        if per_day <= MUCH_BYTES_PER_DAY:
            return ""
        self._has_warned = True
        return (
            f"at this rate the saves write about {size(round(per_day))} a day. "
            "Adaptive(max_bytes_per_sec=...) limits that"
        )
