"""Times of a journal, which anybody may have written. Pure."""

from __future__ import annotations

LATEST = 1e11
"""Seconds since the epoch; what is said to be later, or before the epoch, is no time."""

_MICROS = 1_000_000


def moment(time: float) -> float:
    """A time that can be reckoned with."""
    return min(max(time, 0.0), LATEST) if time == time else 0.0


def micros(secs: float) -> int:
    """Seconds as whole microseconds, so that parts sum to their whole exactly."""
    return round(moment(secs) * _MICROS)


def secs(micros: int) -> float:
    """Microseconds as seconds."""
    return micros / _MICROS
