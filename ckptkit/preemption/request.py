"""Requests to stop: from a signal, a command, or the program itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StopRequest:
    """Why training is to stop.

    Args:
        reason: a signal's name, or words.
        exit_code: of the process.
        before: the handler that the signal had before ours. It is called after the commit, and may
            end the process in its own way.
        interrupt: whether it was Ctrl-C: training then ends with `KeyboardInterrupt`.
        stands: whether it is still unanswered; None if each run answers for itself. One Ctrl-C is
            one `KeyboardInterrupt`, however many runs are open.
    """

    reason: str
    exit_code: int
    before: Callable[[], object] | None = None
    interrupt: bool = False
    stands: Callable[[], bool] | None = None


class StopBox:
    """Holds the first request until it is served.

    It may be filled from a signal handler or from any thread.
    """

    def __init__(self) -> None:
        self._request: StopRequest | None = None

    def put(self, request: StopRequest) -> None:
        """Stores a request; a later one changes nothing."""
        if self.get() is None:
            self._request = request

    def get(self) -> StopRequest | None:
        """Returns the request that has not been served, or None."""
        return None if self.answered_elsewhere else self._request

    @property
    def answered_elsewhere(self) -> bool:
        """Whether another run has answered the request that is stored here."""
        request = self._request
        return request is not None and request.stands is not None and not request.stands()

    def clear(self) -> None:
        """Forgets the request, after it has been served."""
        self._request = None
