"""Save policies: pure decisions when a checkpoint is saved.

A policy is asked at every moment at which a save is possible. It answers with its reason or with
None. It decides by the interval that was *crossed* since the last save, so a loop that reports only
every 60th step does not miss a save.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptkit.errors import ConfigError
from ckptkit.policies.metric_order import Mode, check_count, check_mode, is_record
from ckptkit.position import RunPosition


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment at which a save is possible.

    Args:
        position: of the run.
        time_secs: the monotonic clock, in seconds.
        metrics: what was measured at this position.
        extremes: smallest and largest value of each metric before this moment.
        save_secs: training time that a save costs; None if none was measured yet.
    """

    position: RunPosition
    time_secs: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    extremes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    save_secs: float | None = None


class SavePolicy:
    """The base of all save policies. Two combined with `|` are due as soon as either is.

    Example:
        >>> import ckptkit
        >>> ckptkit.EveryNSteps(500) | ckptkit.EveryNSeconds(600)
        EveryNSteps(n=500) | EveryNSeconds(secs=600)
    """

    def due(self, moment: Moment, last: Moment) -> str | None:
        """Returns the reason to save now, or None.

        Args:
            moment: now.
            last: the last save, or the beginning of this attempt.
        """
        raise TypeError(
            f"{type(self).__name__} is a save policy without a rule: define due(moment, last)."
        )

    def insists(self, moment: Moment, last: Moment) -> bool:
        """Whether a save that is due now has to be written, and may not be dropped for a newer one.

        Saves are dropped if they come faster than they can be written.

        Args:
            moment: now.
            last: the last save, or the beginning of this attempt.
        """
        return False

    def __or__(self, other: SavePolicy) -> SavePolicy:
        if not isinstance(other, SavePolicy):
            return NotImplemented
        return AnyOf((*_parts(self), *_parts(other)))


def _parts(policy: SavePolicy) -> tuple[SavePolicy, ...]:
    return policy.policies if isinstance(policy, AnyOf) else (policy,)


@dataclass(frozen=True, repr=False)
class AnyOf(SavePolicy):
    """Due when any of several policies is."""

    policies: tuple[SavePolicy, ...]

    def due(self, moment: Moment, last: Moment) -> str | None:
        reasons = [reason for policy in self.policies if (reason := policy.due(moment, last))]
        return "; ".join(reasons) or None

    def insists(self, moment: Moment, last: Moment) -> bool:
        return any(policy.insists(moment, last) for policy in self.policies)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.policies))


@dataclass(frozen=True)
class EveryNSteps(SavePolicy):
    """Save whenever another `n` steps have been crossed.

    Args:
        n: steps (training batches) between two saves.

    Raises:
        ConfigError: If n is not a whole number of at least 1.

    Example:
        >>> import ckptkit
        >>> ckptkit.EveryNSteps(500)
        EveryNSteps(n=500)
    """

    n: int

    def __post_init__(self) -> None:
        check_count("EveryNSteps", "n", self.n)

    def due(self, moment: Moment, last: Moment) -> str | None:
        if moment.position.step // self.n > last.position.step // self.n:
            return f"every {self.n} steps"
        return None


@dataclass(frozen=True)
class EveryNEpochs(SavePolicy):
    """Save at the end of every `n`-th epoch.

    Args:
        n: epochs between two saves.
        min_secs: seconds that must have passed since the last save, so that short epochs do not
            save all the time.

    Raises:
        ConfigError: If n is not a whole number of at least 1, or min_secs is negative.

    Example:
        >>> import ckptkit
        >>> ckptkit.EveryNEpochs(1, min_secs=60)
        EveryNEpochs(n=1, min_secs=60)
    """

    n: int = 1
    min_secs: float = 0

    def __post_init__(self) -> None:
        check_count("EveryNEpochs", "n", self.n)
        if not self.min_secs >= 0:
            raise ConfigError(
                "EveryNEpochs: min_secs is a duration in seconds, 0 or more. Received: "
                f"{self.min_secs!r}."
            )

    def due(self, moment: Moment, last: Moment) -> str | None:
        at_boundary = moment.position.batch == 0
        crossed = moment.position.epoch // self.n > last.position.epoch // self.n
        if at_boundary and crossed and moment.time_secs - last.time_secs >= self.min_secs:
            return "every epoch" if self.n == 1 else f"every {self.n} epochs"
        return None


@dataclass(frozen=True)
class EveryNSeconds(SavePolicy):
    """Save when `secs` seconds have passed since the last save.

    Args:
        secs: seconds of wall time.

    Raises:
        ConfigError: If secs is not larger than 0.

    Example:
        >>> import ckptkit
        >>> ckptkit.EveryNSeconds(600)
        EveryNSeconds(secs=600)
    """

    secs: float

    def __post_init__(self) -> None:
        if (
            not isinstance(self.secs, int | float)
            or not self.secs > 0
            or not math.isfinite(self.secs)
        ):
            raise ConfigError(
                "EveryNSeconds: secs is a duration in seconds, more than 0. Received: "
                f"secs={self.secs!r}."
            )

    def due(self, moment: Moment, last: Moment) -> str | None:
        if moment.time_secs - last.time_secs >= self.secs:
            return f"every {self.secs:g} seconds"
        return None


@dataclass(frozen=True)
class OnBest(SavePolicy):
    """Save when a metric is better than it ever was in this run, over all attempts.

    Args:
        monitor: the metric's name as it appears in Keras' logs (`"val_loss"`), or as given to
            `log`/`maybe_save`.
        mode: `"min"` if smaller is better (default), `"max"` if larger is.

    Raises:
        ConfigError: If mode is neither.

    Example:
        >>> import ckptkit
        >>> ckptkit.OnBest("val_accuracy", mode="max")
        OnBest(monitor='val_accuracy', mode='max')
    """

    monitor: str
    mode: Mode = "min"

    def __post_init__(self) -> None:
        check_mode("OnBest", self.mode)

    def due(self, moment: Moment, last: Moment) -> str | None:
        value = moment.metrics.get(self.monitor)
        if value is None:
            return None
        if is_record(value, moment.extremes.get(self.monitor), self.mode):
            return f"best {self.monitor} ({value:g})"
        return None

    def insists(self, moment: Moment, last: Moment) -> bool:
        # The next step changes the state that made the record.
        return self.due(moment, last) is not None


@dataclass(frozen=True, kw_only=True)
class Adaptive(SavePolicy):
    """Save as often as a bound on the cost to training allows.

    The interval between two saves is cost / max_overhead, within the limits. The cost is measured:
    the time for which training stood still, plus how much slower its steps were while the save was
    written. It is the mean of the last three saves. The idea is that of CheckFreq
    (Mohan, Phanishayee, Chidambaram: "CheckFreq: Frequent, Fine-Grained DNN Checkpointing", FAST
    2021).

    Args:
        max_overhead: the part of training time that saves may take, between 0 and 1.
        min_secs: the least time between two saves, in seconds; the first save comes after it, to
            measure the cost.
        max_secs: the most time between two saves, in seconds, whatever they cost.

    Raises:
        ConfigError: If a number is out of its range.

    Example:
        >>> import ckptkit
        >>> ckptkit.Adaptive(max_overhead=0.01)
        Adaptive(max_overhead=0.01, min_secs=10, max_secs=1800)
    """

    max_overhead: float = 0.02
    min_secs: float = 10
    max_secs: float = 1800

    def __post_init__(self) -> None:
        if not 0 < self.max_overhead < 1:
            raise ConfigError(
                "Adaptive: max_overhead is a part of training time, between 0 and 1 (0.02 is two "
                "percent). "
                f"Received: max_overhead={self.max_overhead!r}."
            )
        if not 0 < self.min_secs <= self.max_secs < math.inf:
            raise ConfigError(
                "Adaptive: min_secs and max_secs are durations in seconds, with 0 < min_secs <= "
                "max_secs. "
                f"Received: min_secs={self.min_secs!r}, max_secs={self.max_secs!r}."
            )

    def due(self, moment: Moment, last: Moment) -> str | None:
        cost = moment.save_secs
        interval = (
            self.min_secs
            if cost is None
            else min(max(cost / self.max_overhead, self.min_secs), self.max_secs)
        )
        if moment.time_secs - last.time_secs < interval:
            return None
        if cost is None:
            return f"adaptive: after {interval:g} s, to measure what a save costs"
        return f"adaptive: every {interval:.3g} s, as a save costs {cost:.3g} s of training"
