"""Decides what to save before the machine goes away. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["save", "finish", "keep"]


@dataclass(frozen=True)
class EmergencyDecision:
    """What to do after a notice.

    Args:
        action: `save` writes the current state, after any save in progress; `finish` only completes
            the save in progress; `keep` writes nothing more.
        reason: the reason for the action, as a sentence with the numbers.
    """

    action: Action
    reason: str


def decide(
    *, left_secs: float | None, write_secs: float | None, writing_for_secs: float | None
) -> EmergencyDecision:
    """Decide by the duration of the last saves and by the time that is left.

    Args:
        left_secs: seconds until the machine goes away; None if unknown.
        write_secs: the duration of a save, or None if none was timed yet.
        writing_for_secs: how long a save has been in progress, or None if none is.
    """
    if left_secs is None:
        return EmergencyDecision("save", "there is no deadline")
    if write_secs is None:
        return EmergencyDecision(
            "save", f"{left_secs:.1f} s are left, and no save has been timed yet"
        )
    rest_secs = 0.0 if writing_for_secs is None else max(write_secs - writing_for_secs, 0.0)
    if left_secs >= rest_secs + write_secs:
        return EmergencyDecision(
            "save", f"{left_secs:.1f} s are left, and it takes {rest_secs + write_secs:.1f} s"
        )
    if writing_for_secs is not None and left_secs >= rest_secs:
        return EmergencyDecision(
            "finish",
            f"{left_secs:.1f} s are left: enough for the save that is being written "
            f"({rest_secs:.1f} s), not for another one "
            f"({write_secs:.1f} s)",
        )
    return EmergencyDecision(
        "keep",
        f"{left_secs:.1f} s are left, and a save takes {write_secs:.1f} s: the newest committed "
        "checkpoint counts",
    )
