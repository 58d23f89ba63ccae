"""Keeps the requests of other processes to save, until a save serves them."""

from __future__ import annotations

from collections import deque

from ckptkit.run import events
from ckptkit.run.control_requests import ControlRequest
from ckptkit.run.journal import Journal


class SaveRequests:
    """Keeps requests from other processes to save, until a save has served them.

    A thread that polls the run directory adds them, and the training thread serves them.

    Args:
        journal: the journal of the attempt.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: deque[ControlRequest] = deque()

    def add(self, request: ControlRequest) -> None:
        """Add a request; call it on any thread."""
        self._waiting.append(request)

    @property
    def reason(self) -> str | None:
        """The reason of a pending request, or None if there is no request."""
        return f"asked for by {self._waiting[0].source}" if self._waiting else None

    def served(self, step: int) -> None:
        """Record that all requests are served by a save of the state at `step`."""
        while self._waiting:
            request = self._waiting.popleft()
            self._journal.record(events.RequestServed(id=request.id, step=step))
