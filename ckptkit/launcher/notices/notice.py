"""Notice that the machine will go away."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SECS = 5.0
"""Assumed if the announced time is over and the machine still runs: a failed save costs nothing."""

_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Notice:
    """Announcement that the machine will go away, or that it will stay after all.

    Args:
        source: "gce", "aws", "azure" or "file".
        grace_secs: seconds that are left from now on; 0 if it is cancelled.
        reason: for people, and the same text for as long as the same notice stands.
        cancelled: the notice with this source and reason holds no longer.

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
    """Return foreign text as one short line without control characters."""
    line = "".join(
        character if character.isprintable() else " " for character in text[:_LONGEST_TEXT]
    )
    return " ".join(line.split())
