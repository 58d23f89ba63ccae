"""Holds requests to stop: from a signal, a command, or the program itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StopRequest:
    """A request to stop training: its reason, and how the process has to end.

    Args:
        reason: the name of a signal, or a reason in words.
        exit_code: the exit code with which the process ends.
        before: the signal handler that ckptkit replaced. It is called after the commit, and may end
            the process in its own way.
        interrupt: whether it was Ctrl-C: training then ends with `KeyboardInterrupt`.
        stands: returns whether no run has answered the request yet; None if each run has to answer.
            One Ctrl-C raises one `KeyboardInterrupt`, even if several runs are open.
    """

    reason: str
    exit_code: int
    before: Callable[[], object] | None = None
    interrupt: bool = False
    stands: Callable[[], bool] | None = None


class StopBox:
    """Holds the first request to stop until it is served.

    Signal handlers and all threads may put a request into it.
    """

    def __init__(self) -> None:
        self._request: StopRequest | None = None

    def put(self, request: StopRequest) -> None:
        """Store a request, unless one is stored already."""
        if self.get() is None:
            self._request = request

    def get(self) -> StopRequest | None:
        """Return the stored request, or None."""
        return None if self.answered_elsewhere else self._request

    @property
    def answered_elsewhere(self) -> bool:
        """Whether another run of this process has already answered the stored request."""
        request = self._request
        return request is not None and request.stands is not None and not request.stands()

    def clear(self) -> None:
        """Forget the stored request, because it has been served."""
        self._request = None
