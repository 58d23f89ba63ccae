"""Detects a training that makes no progress, from its reports. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ckptkit.launcher.launcher_settings import Settings
from ckptkit.run.launcher_channel import ChannelState


@dataclass(frozen=True)
class Stall:
    """A training that makes no progress.

    Args:
        action: `dump` to write its stacks, or `end` to end it.
        secs: the time since the last progress.
    """

    action: Literal["dump", "end"]
    secs: float


class StallDetector:
    """Follows the progress of one training.

    Args:
        settings: the limits.
        now: the current time, by the monotonic clock.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._since = now
        self._last: tuple[int, str, int, int] | None = None
        self._idle = False
        self._dumped = False

    def observe(self, state: ChannelState | None, now: float) -> Stall | None:
        """Evaluate the latest report; return what to do now, or None."""
        heard = None if state is None else (state.beats, state.phase, state.step, state.attempt)
        if heard != self._last:
            self._last, self._since, self._dumped = heard, now, False
        if state is None or state.phase == "idle":
            # No run is open, so the program may do anything. A program without ckptkit never
            # reports.
            return None
        secs, least = now - self._since, 0.0 if state.trained else self._settings.first_step_secs
        if self._settings.hang_secs and secs >= max(self._settings.hang_secs, least):
            return Stall("end", secs)
        if (
            self._settings.stall_secs
            and secs >= max(self._settings.stall_secs, least)
            and not self._dumped
        ):
            self._dumped = True
            return Stall("dump", secs)
        return None
