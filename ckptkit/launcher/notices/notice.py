"""A word that the machine will go away."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SECS = 5.0
"""What is assumed where the time that was announced is over and the machine is still here: a save
that is cut off costs nothing.
"""

_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Notice:
    """That the machine will go away, or that it will stay after all.

    Args:
        source: who says so: "gce", "aws", "azure" or "file".
        grace_secs: seconds that are left, counted from when this is told; 0 where it is cancelled.
        reason: for people, and the same text for as long as the same notice stands.
        cancelled: the notice with this source and reason does not hold any more.

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
    """Seconds from `now` to `until`, not more than `most`, and not less than what is worth a try."""
    return min(max(until - now, LEAST_SECS), most)


def printable(text: str) -> str:
    """What somebody else wrote, in one short line that does nothing to a terminal."""
    line = "".join(
        character if character.isprintable() else " " for character in text[:_LONGEST_TEXT]
    )
    return " ".join(line.split())
