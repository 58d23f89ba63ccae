"""A request to stop, from wherever it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StopRequest:
    """Why training is to stop.

    Args:
        reason: a signal's name, or words.
        exit_code: with which the process is to end.
        before: the handler that the signal had before ours; it is called after the commit, and may
            end the process in its own way.
        interrupt: whether Ctrl-C asked: training then ends with `KeyboardInterrupt`.
        stands: whether nobody has answered it yet; None where each run has to answer for itself.
            One Ctrl-C is one `KeyboardInterrupt`, however many runs are open.
    """

    reason: str
    exit_code: int
    before: Callable[[], object] | None = None
    interrupt: bool = False
    stands: Callable[[], bool] | None = None


class StopBox:
    """Holds the first request until it is served; may be filled from a signal handler or from any
    thread.
    """

    def __init__(self) -> None:
        self._request: StopRequest | None = None

    def put(self, request: StopRequest) -> None:
        """Notes a request; a later one changes nothing."""
        if self.get() is None:
            self._request = request

    def get(self) -> StopRequest | None:
        """The request that has not been served, or None."""
        return None if self.answered_elsewhere else self._request

    @property
    def answered_elsewhere(self) -> bool:
        """Whether the request that was noted here has been answered by another run."""
        request = self._request
        return request is not None and request.stands is not None and not request.stands()

    def clear(self) -> None:
        """The request has been served."""
        self._request = None
