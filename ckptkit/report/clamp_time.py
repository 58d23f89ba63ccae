"""Clamps journal times to a range in which arithmetic is safe. Pure.

A journal may come from anywhere, so its times may be absurd.
"""

from __future__ import annotations

LATEST = 1e11
"""The latest time that counts, in seconds since the epoch; later ones are clamped to it."""

_MICROS = 1_000_000


def moment(time: float) -> float:
    """Return a time clamped to between the epoch and `LATEST`; 0 for NaN."""
    return min(max(time, 0.0), LATEST) if time == time else 0.0


def micros(secs: float) -> int:
    """Return seconds as whole microseconds, so that parts sum exactly to their whole."""
    return round(moment(secs) * _MICROS)


def secs(micros: int) -> float:
    """Return microseconds as seconds."""
    return micros / _MICROS
