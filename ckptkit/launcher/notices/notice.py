"""The record of a notice that the machine will go away."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SECS = 5.0
"""Seconds that are assumed to be left if the announced time has passed but the machine still runs.

An attempt to save costs nothing then."""

_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Notice:
    """A notice that the machine will go away, or that an earlier notice was cancelled.

    Args:
        source: "gce", "aws", "azure" or "file".
        grace_secs: the seconds that are left from now on; 0 if cancelled.
        reason: the reason for people; the text stays the same for the same notice.
        cancelled: whether the notice with this source and reason is cancelled.

    Example:
        >>> from ckptkit.launcher.notices.notice import Notice
        >>> Notice("gce", 30, "Compute Engine preempts this instance")
        Notice(source='gce', grace_secs=30, reason='Compute Engine preempts this instance',
        cancelled=False)
    """

    source: str
    grace_secs: float
    reason: str
    cancelled: bool = False


def left(until: float, now: float, most: float) -> float:
    """Return the seconds from `now` to `until`, between `LEAST_SECS` and `most`."""
    return min(max(until - now, LEAST_SECS), most)


def printable(text: str) -> str:
    """Return text from outside as one short line without control characters."""
    line = "".join(
        character if character.isprintable() else " " for character in text[:_LONGEST_TEXT]
    )
    return " ".join(line.split())
