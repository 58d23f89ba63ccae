"""The base class of all events, and the version of their format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

EVENT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A line of the journal, with the fields that all kinds have.

    Args:
        time: seconds since the epoch; filled in by the journal.
        attempt: number of the process, from 1; 0 is the launcher. Filled in by the journal.
    """

    event: ClassVar[str] = ""
    time: float = 0.0
    attempt: int = 0
