"""A clock that moves only when a test moves it."""

from __future__ import annotations


class FakeClock:
    """A `ckptkit.clock.Clock` that moves only by `advance` and `sleep`.

    Args:
        start: the first value of `now`, in seconds since the epoch.

    Raises:
        ValueError: If time would go back.

    Example:
        >>> from ckptkit.testing import FakeClock
        >>> clock = FakeClock(1000.0)
        >>> clock.advance(2.5)
        >>> clock.sleep(60)
        >>> clock.now(), clock.monotonic()
        (1062.5, 62.5)
    """

    def __init__(self, start: float = 1.7e9) -> None:
        self._start = start
        self._passed = 0.0
        self._shift = 0.0

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return self._start + self._shift + self._passed

    def monotonic(self) -> float:
        """Return the seconds since this clock was made."""
        return self._passed

    def sleep(self, secs: float) -> None:
        """Advance the clock by a number of seconds, and return at once.

        Raises:
            ValueError: If `secs` is negative.
        """
        self.advance(secs)

    def advance(self, secs: float) -> None:
        """Advance the clock by a number of seconds.

        Raises:
            ValueError: If `secs` is negative; use `set_back` to simulate a wrong clock.
        """
        if secs < 0:
            raise ValueError(
                f"Time does not go back by itself. Received: {secs} seconds; see "
                "FakeClock.set_back."
            )
        self._passed += secs

    def set_back(self, secs: float) -> None:
        """Set `now` back, as an administrator or a time server may do.

        `monotonic` does not change.
        """
        self._shift -= secs
