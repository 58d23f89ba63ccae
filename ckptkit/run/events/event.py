"""The base class of all events, and the version of their format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

EVENT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """The base class of all events, with the fields that every line of the journal has.

    Args:
        time: seconds since the epoch; the journal sets it.
        attempt: the number of the attempt, from 1; 0 for the launcher. The journal sets it.
    """

    event: ClassVar[str] = ""
    time: float = 0.0
    attempt: int = 0
