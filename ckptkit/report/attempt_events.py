"""The events of one attempt, grouped by their kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar, cast

from ckptkit.run.events import Event

E = TypeVar("E", bound=Event)


class AttemptEvents:
    """The events of one attempt, grouped by their kind.

    Args:
        events: the events, in the order in which they were written.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self._kinds: dict[type[Event], list[Event]] = defaultdict(list)
        for event in events:
            self._kinds[type(event)].append(event)

    def all(self, kind: type[E]) -> Sequence[E]:
        """Return the events of a kind."""
        return cast("list[E]", self._kinds.get(kind, []))

    def first(self, kind: type[E]) -> E | None:
        """Return the first event of a kind, or None."""
        found = self.all(kind)
        return found[0] if found else None

    def last(self, kind: type[E]) -> E | None:
        """Return the last event of a kind, or None."""
        found = self.all(kind)
        return found[-1] if found else None
