"""The save policy that chooses its interval by what a save costs. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ckptkit.errors import ConfigError
from ckptkit.policies.save_policies import Moment, SavePolicy


@dataclass(frozen=True, kw_only=True, repr=False)
class Adaptive(SavePolicy):
    """Save as often as a limit on the training time that saves cost allows; the default.

    The first save comes a few seconds after training begins, so an early kill costs little. Then
    the interval between two saves is cost / max_overhead, within the other limits. The cost is
    measured: the time for which training stopped, plus the time by which steps were slower during
    the write. It is the mean of the last three saves. The idea is from CheckFreq (Mohan,
    Phanishayee, Chidambaram: "CheckFreq: Frequent, Fine-Grained DNN Checkpointing", FAST 2021).

    The reason that a checkpoint and the journal record names the interval and the cost.

    Args:
        max_overhead: the share of training time that saves may cost, between 0 and 1.
        first_secs: the time from the start of an attempt to its first save, in seconds.
        min_secs: the shortest time between two saves, in seconds.
        max_secs: the longest time between two saves, in seconds, whatever they cost.
        max_bytes_per_sec: the bytes that saves may write per second, on average. `max_secs` takes
            precedence.

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
    max_bytes_per_sec: float = 50_000_000

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
        cost = moment.save_secs
        # A save during a save would wait for it and then be replaced by a newer one. The cost of
        # the first save is known one step after it is written.
        if moment.is_writing or (cost is None and moment.save_bytes):
            return None
        interval = self.first_secs if cost is None else self.interval_secs(cost, moment.save_bytes)
        if moment.time_secs - last.time_secs < interval:
            return None
        if cost is None:
            return f"adaptive: the first after {interval:g} s"
        return f"adaptive: every {interval:.3g} s, as a save costs {cost:.3g} s of training"

    def interval_secs(self, cost_secs: float, save_bytes: int = 0) -> float:
        """Return the seconds between two saves.

        Args:
            cost_secs: the training time that a save costs, in seconds.
            save_bytes: the size of a save in bytes.

        Example:
            >>> import ckptkit
            >>> policy = ckptkit.Adaptive()
            >>> policy.interval_secs(0.01), policy.interval_secs(0.5, 5_000_000_000)
            (10, 100.0)
        """
        wanted = max(cost_secs / self.max_overhead, save_bytes / self.max_bytes_per_sec)
        return min(max(wanted, self.min_secs), self.max_secs)
