"""Save policies: pure functions that decide when a checkpoint is saved.

A policy is called at every moment at which a save is possible, and returns a reason or None. It
decides by the interval that was *crossed* since the last save, so a loop that reports only every
60th step does not miss a save.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from ckptkit.errors import ConfigError
from ckptkit.policies.metric_direction import (
    ComparesMetrics,
    Directions,
    ModeOrAuto,
    given_or_inferred,
    required,
)
from ckptkit.policies.metric_order import check_count, is_record, no_truth_value
from ckptkit.position import RunPosition


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment at which a save is possible.

    Args:
        position: the position of the run.
        time_secs: the time of the monotonic clock, in seconds.
        metrics: the metrics at this position.
        extremes: the smallest and the largest earlier value of each metric.
        save_secs: the training time that a save costs, in seconds; None before the first
            measurement.
        save_bytes: the bytes that the newest save wrote, without those that it shares with earlier
            ones; 0 before the first one.
        write_secs: the time for which the newest save was written, in seconds; 0 before the first
            one.
        failed_saves: the number of saves that failed since the newest one that succeeded.
        is_writing: whether a save is being written.
        is_measuring: whether a save has begun whose cost is not known yet.
        first_step_secs: the time at the end of the first step of this attempt; None if unknown.
        epoch_end_secs: the time of the newest save at the end of an epoch, or of the beginning of
            this attempt; None if unknown.
        running_averages: whether the metrics are averages over an unfinished epoch. Those cannot be
            compared with metrics of whole epochs, so they never count as the best.
    """

    position: RunPosition
    time_secs: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    extremes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    save_secs: float | None = None
    save_bytes: int = 0
    write_secs: float = 0.0
    failed_saves: int = 0
    is_writing: bool = False
    is_measuring: bool = False
    first_step_secs: float | None = None
    epoch_end_secs: float | None = None
    running_averages: bool = False


class SavePolicy(ComparesMetrics):
    """The base class of all save policies; `a | b` saves if either policy does.

    Example:
        >>> import ckptkit
        >>> ckptkit.EveryNSteps(500) | ckptkit.EveryNSeconds(600)
        EveryNSteps(n=500) | EveryNSeconds(secs=600)
    """

    def due(self, moment: Moment, last: Moment) -> str | None:
        """Return the reason to save now, or None.

        Args:
            moment: now.
            last: the last save, or the beginning of this attempt.
        """
        raise TypeError(
            f"{type(self).__name__} is a save policy without a rule: define due(moment, last)."
        )

    def insists(self, moment: Moment, last: Moment) -> bool:
        """Return whether a save that is due now must be written even if a newer one follows.

        Saves are replaced if they are due faster than they can be written.

        Args:
            moment: now.
            last: the last save, or the beginning of this attempt.
        """
        return False

    def __bool__(self) -> bool:
        # Else `a or b` and `a and b` would silently be one of the two.
        raise no_truth_value(self)

    def never_due_without_epochs(self) -> bool:
        """Return whether this policy never saves in a loop that counts steps and no epochs."""
        return False

    def never_due_without(self, missing: Container[str]) -> bool:
        """Return whether this policy never saves if the given metrics are never reported.

        Args:
            missing: the names of the metrics.
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
    """Save if any of several policies does."""

    policies: tuple[SavePolicy, ...]

    def due(self, moment: Moment, last: Moment) -> str | None:
        reasons = [reason for policy in self.policies if (reason := policy.due(moment, last))]
        return "; ".join(reasons) or None

    def insists(self, moment: Moment, last: Moment) -> bool:
        return any(policy.insists(moment, last) for policy in self.policies)

    @property
    def monitors(self) -> tuple[str, ...]:
        return tuple(name for policy in self.policies for name in policy.monitors)

    def never_due_without_epochs(self) -> bool:
        return all(policy.never_due_without_epochs() for policy in self.policies)

    def never_due_without(self, missing: Container[str]) -> bool:
        return all(policy.never_due_without(missing) for policy in self.policies)

    def with_directions(self, directions: Directions) -> Self:
        settled = tuple(policy.with_directions(directions) for policy in self.policies)
        return replace(self, policies=settled)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.policies))


@dataclass(frozen=True)
class EveryNSteps(SavePolicy):
    """Save whenever another `n` steps have been crossed.

    Args:
        n: the number of steps (training batches) between two saves.

    Raises:
        ConfigError: If n is not a whole number of at least 1.

    Example:
        >>> import ckptkit
        >>> ckptkit.EveryNSteps(500)
        EveryNSteps(n=500)
    """

    n: int

    def __post_init__(self) -> None:
        check_count(self, "n")

    def due(self, moment: Moment, last: Moment) -> str | None:
        if moment.position.step // self.n > last.position.step // self.n:
            return f"every {self.n} steps"
        return None


@dataclass(frozen=True)
class EveryNEpochs(SavePolicy):
    """Save at the end of every `n`-th epoch.

    Args:
        n: the number of epochs between two saves.
        min_secs: the least number of seconds since the last save at the end of an epoch, so that
            short epochs do not save all the time.

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
        check_count(self, "n")
        if not self.min_secs >= 0:
            raise ConfigError(
                "EveryNEpochs: min_secs is a duration in seconds, 0 or more. Received: "
                f"{self.min_secs!r}."
            )

    def never_due_without_epochs(self) -> bool:
        return True

    def due(self, moment: Moment, last: Moment) -> str | None:
        at_boundary = moment.position.batch == 0
        crossed = moment.position.epoch // self.n > last.position.epoch // self.n
        # Saves in the middle of epochs do not count. Else a policy beside this one that saves often
        # would keep it from ever saving.
        since = last.time_secs if last.epoch_end_secs is None else last.epoch_end_secs
        if at_boundary and crossed and moment.time_secs - since >= self.min_secs:
            return "every epoch" if self.n == 1 else f"every {self.n} epochs"
        return None


@dataclass(frozen=True)
class EveryNSeconds(SavePolicy):
    """Save when `secs` seconds have passed since the last save.

    Args:
        secs: the number of seconds between two saves.

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
            not isinstance(self.secs, numbers.Real)  # NumPy's scalars are such numbers, too
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
    """Save when a metric is better than ever before in this run, over all attempts.

    In `fit` metrics are compared only at the end of epochs, because in the middle of an epoch Keras
    logs averages over the batches so far.

    Args:
        monitor: the metric's name as in Keras' logs (`"val_loss"`), or as passed to
            `log`/`maybe_save`.
        mode: `"min"` if smaller is better, `"max"` if larger is. The default `"auto"` infers
            it: for Keras' own metrics from the name, and for metric objects of the model from the
            object.

    Raises:
        ConfigError: If `mode` is invalid. Also at the start of training, if `"auto"` cannot infer
            it.

    Example:
        >>> import ckptkit
        >>> ckptkit.OnBest("val_accuracy")
        OnBest(monitor='val_accuracy', mode='max')
    """

    monitor: str
    mode: ModeOrAuto = "auto"

    def __post_init__(self) -> None:
        known = given_or_inferred("OnBest", self.monitor, self.mode)
        object.__setattr__(self, "mode", known)

    @property
    def monitors(self) -> tuple[str, ...]:
        return (self.monitor,)

    def never_due_without(self, missing: Container[str]) -> bool:
        return self.monitor in missing

    def with_directions(self, directions: Directions) -> Self:
        return replace(self, mode=required("OnBest", self.monitor, self.mode, directions))

    def due(self, moment: Moment, last: Moment) -> str | None:
        value = None if moment.running_averages else moment.metrics.get(self.monitor)
        if value is None:
            return None
        mode = required("OnBest", self.monitor, self.mode)
        if is_record(value, moment.extremes.get(self.monitor), mode):
            return f"best {self.monitor} ({value:g})"
        return None

    def insists(self, moment: Moment, last: Moment) -> bool:
        # This save must be written, because the next step changes the best state.
        return self.due(moment, last) is not None
