"""A clock that a test sets."""

from __future__ import annotations


class FakeClock:
    """A `ckptkit.clock.Clock` that goes on only when it is told to, or when somebody sleeps by it.

    Args:
        start: what `now` gives at first, in seconds since the epoch.

    Raises:
        ValueError: for time that would go back.

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
        """Returns at once, and so much later.

        Raises:
            ValueError: where `secs` is negative.
        """
        self.advance(secs)

    def advance(self, secs: float) -> None:
        """Lets time pass.

        Raises:
            ValueError: where `secs` is negative: `set_back` is what a wrong clock does.
        """
        if secs < 0:
            raise ValueError(
                f"Time does not go back by itself. Received: {secs} seconds; see "
                "FakeClock.set_back."
            )
        self._passed += secs

    def set_back(self, secs: float) -> None:
        """Puts the clock that people read back, as an administrator or a time server may do;
        `monotonic` does not notice.
        """
        self._shift -= secs
