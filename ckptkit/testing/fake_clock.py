"""A clock that a test sets."""

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
        """Seconds since the epoch."""
        return self._start + self._shift + self._passed

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._passed

    def sleep(self, secs: float) -> None:
        """Advances the clock by that much and returns at once.

        Raises:
            ValueError: If `secs` is negative.
        """
        self.advance(secs)

    def advance(self, secs: float) -> None:
        """Lets time pass.

        Raises:
            ValueError: If `secs` is negative; `set_back` does what a wrong clock does.
        """
        if secs < 0:
            raise ValueError(
                f"Time does not go back by itself. Received: {secs} seconds; see "
                "FakeClock.set_back."
            )
        self._passed += secs

    def set_back(self, secs: float) -> None:
        """Sets `now` back, as an administrator or a time server may do.

        `monotonic` does not move.
        """
        self._shift -= secs
