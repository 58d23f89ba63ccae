"""The save policy that chooses its interval by what a save costs. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ckptkit.errors import ConfigError
from ckptkit.policies.save_policies import Moment, SavePolicy

WRITES_APART = 10
"""The least time between two saves, in durations of a write, so that the disk is mostly idle."""

MOST_DOUBLINGS = 10
"""How often failed saves double the interval; `max_secs` is a limit in any case."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Adaptive(SavePolicy):
    """Save as often as a limit on the training time that saves cost allows; the default.

    The first save comes a few seconds after training begins, so an early kill costs little. Then
    the interval between two saves is cost / max_overhead, within the other limits. The cost is
    measured: the time for which training stopped, plus the time by which steps were slower during
    the write. It is the mean of the last three saves. The idea is from CheckFreq (Mohan,
    Phanishayee, Chidambaram: "CheckFreq: Frequent, Fine-Grained DNN Checkpointing", FAST 2021).

    A slow disk gets at most one tenth of the time for writing. After a failed save the interval
    doubles, until a save succeeds. With several workers only the chief asks this policy, and the
    others get its answer.

    The reason that a checkpoint and the journal record names the interval and the cost.

    Args:
        max_overhead: the share of training time that saves may cost, between 0 and 1.
        first_secs: the time from the end of the first step of an attempt to its first save, in
            seconds.
        min_secs: the shortest time between two saves, in seconds.
        max_secs: the longest time between two saves, in seconds, whatever they cost.
        max_bytes_per_sec: the bytes that saves may write per second, on average; 8 MB per second
            are 0.7 TB a day. Data that a save shares with an earlier one does not count. `max_secs`
            takes precedence.

    Raises:
        ConfigError: If a number is out of its range.

    Example:
        >>> import ckptkit
        >>> ckptkit.Adaptive(max_overhead=0.02, min_secs=30)
        Adaptive(max_overhead=0.02, min_secs=30)
    """

    max_overhead: float = 0.01
    first_secs: float = 5
    min_secs: float = 10
    max_secs: float = 600
    max_bytes_per_sec: float = 8_000_000

    def __post_init__(self) -> None:
        if not 0 < self.max_overhead < 1:
            raise ConfigError(
                "Adaptive: max_overhead is a share of training time, between 0 and 1 (0.02 is two "
                "percent). "
                f"Received: max_overhead={self.max_overhead!r}."
            )
        if not 0 < self.min_secs <= self.max_secs < math.inf:
            raise ConfigError(
                "Adaptive: min_secs and max_secs are durations in seconds, with 0 < min_secs <= "
                "max_secs. "
                f"Received: min_secs={self.min_secs!r}, max_secs={self.max_secs!r}."
            )
        for name in ("first_secs", "max_bytes_per_sec"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"Adaptive: {name} is a number larger than 0. Received: "
                    f"{name}={getattr(self, name)!r}."
                )

    def __repr__(self) -> str:
        # Only what differs from the defaults, which fill a line.
        given = [
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        ]
        return f"Adaptive({', '.join(given)})"

    def due(self, moment: Moment, last: Moment) -> str | None:
        # A save during a save would wait for it and then be replaced by a newer one. The cost of
        # the first save is known one step after it is written.
        if moment.is_writing or (moment.save_secs is None and moment.is_measuring):
            return None
        cost, since = moment.save_secs, last.time_secs
        if cost is None:
            interval = self.first_secs
            # Opening, restoring and tracing take long, and there is nothing to save meanwhile.
            since = max(since, moment.first_step_secs or since)
        else:
            interval = self.interval_secs(cost, moment.save_bytes, moment.write_secs)
        if moment.failed_saves:
            doubled = interval * 2 ** min(moment.failed_saves, MOST_DOUBLINGS)
            interval = max(interval, min(doubled, self.max_secs))
        if moment.time_secs - since < interval:
            return None
        if cost is None:
            return f"adaptive: the first after {interval:g} s"
        return f"adaptive: every {interval:.3g} s, as a save costs {cost:.3g} s of training"

    def interval_secs(
        self, cost_secs: float, save_bytes: int = 0, write_secs: float = 0.0
    ) -> float:
        """Return the seconds between two saves.

        Args:
            cost_secs: the training time that a save costs, in seconds.
            save_bytes: the bytes that a save writes.
            write_secs: how long a save is written, in seconds.

        Example:
            >>> import ckptkit
            >>> policy = ckptkit.Adaptive()
            >>> policy.interval_secs(0.01), policy.interval_secs(0.5, 800_000_000)
            (10, 100.0)
        """
        wanted = max(
            cost_secs / self.max_overhead,
            save_bytes / self.max_bytes_per_sec,
            write_secs * WRITES_APART,
        )
        return min(max(wanted, self.min_secs), self.max_secs)
