"""Keep policies: pure functions that decide which checkpoints of a run stay.

They use only manifests, so they cover the checkpoints of all attempts. A policy names the
checkpoints that it *keeps*, each with a reason; all others may be removed. Two checkpoints are kept
under any policy: the newest one, and the newest one whose metrics are all finite. So a run that has
diverged does not lose its last good state. A checkpoint without metrics counts as the second one
only if no other has finite metrics. `judge` returns the decision about each checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
from ckptkit.policies.metric_order import (
    Mode,
    better,
    check_count,
    is_record,
    no_truth_value,
)
from ckptkit.policies.save_policies import Moment


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The facts about a checkpoint by which a keep policy decides.

    Args:
        name: the name of its directory, unique in the run.
        step: the number of training batches.
        metrics: the metrics at its position.
        running_averages: whether the metrics are averages over an unfinished epoch. Those cannot
            be compared with metrics of whole epochs.
        finite: whether its weights are finite, as far as that is known.
        saved_at: when it was saved, in seconds since the epoch.
    """

    name: str
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    running_averages: bool = False
    finite: bool = True
    saved_at: float = 0.0


Reasons = dict[str, str]
"""The names of checkpoints that stay, each with the reason."""


class KeepPolicy(ComparesMetrics):
    """The base class of all keep policies; `a | b` keeps the checkpoints of both.

    Example:
        >>> import ckptkit
        >>> ckptkit.KeepLatest(2) | ckptkit.KeepBest("val_loss")
        KeepLatest(n=2) | KeepBest(monitor='val_loss', mode='min', n=1)
    """

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        """Return the names of the checkpoints that stay, with reasons.

        Args:
            candidates: the run's checkpoints, oldest first.
        """
        raise TypeError(
            f"{type(self).__name__} is a keep policy without a rule: define keep(candidates)."
        )

    def lasting(self, candidates: Sequence[Candidate]) -> Reasons:
        """Return the checkpoints that stay for a reason other than being new.

        A checkpoint that is still being written never replaces these.

        Args:
            candidates: the run's checkpoints, oldest first.
        """
        return self.keep(candidates)

    def gives_up(self, candidate: Candidate) -> str:
        """Return the reason why this policy does not keep a checkpoint."""
        return f"not kept by {self!r}"

    def most(self) -> int | None:
        """Return the largest number of checkpoints that this policy keeps at once.

        Returns None if the number grows with the run.
        """
        return None

    def insists(self, moment: Moment, last: Moment) -> bool:
        """Return whether a save at this moment would be kept for a reason other than being new.

        Such a save is not replaced by a newer one while it waits to be written.

        Args:
            moment: the current moment.
            last: the last save, or the beginning of this attempt.
        """
        return False

    def __bool__(self) -> bool:
        # Otherwise `a or b` and `a and b` would silently be only one of both.
        raise no_truth_value(self)

    def __or__(self, other: KeepPolicy) -> KeepPolicy:
        if not isinstance(other, KeepPolicy):
            return NotImplemented
        return KeepAny((*parts(self), *parts(other)))


def parts(policy: KeepPolicy) -> tuple[KeepPolicy, ...]:
    """Return the policies of which a policy consists."""
    return policy.policies if isinstance(policy, KeepAny) else (policy,)


def merge_reasons(several: Iterable[Mapping[str, str]]) -> Reasons:
    """Merge several sets of reasons, so that each name has each reason once."""
    found: dict[str, list[str]] = {}
    for reasons in several:
        for name, reason in reasons.items():
            known = found.setdefault(name, [])
            if reason not in known:
                known.append(reason)
    return {name: "; ".join(reasons) for name, reasons in found.items()}


@dataclass(frozen=True, repr=False)
class KeepAny(KeepPolicy):
    """Keep the checkpoints that any of several policies keeps."""

    policies: tuple[KeepPolicy, ...]

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        return merge_reasons(policy.keep(candidates) for policy in self.policies)

    def lasting(self, candidates: Sequence[Candidate]) -> Reasons:
        return merge_reasons(policy.lasting(candidates) for policy in self.policies)

    def gives_up(self, candidate: Candidate) -> str:
        return "; ".join(policy.gives_up(candidate) for policy in self.policies)

    def most(self) -> int | None:
        total = 0
        for policy in self.policies:
            most = policy.most()
            if most is None:
                return None
            total += most
        return total

    def insists(self, moment: Moment, last: Moment) -> bool:
        return any(policy.insists(moment, last) for policy in self.policies)

    @property
    def monitors(self) -> tuple[str, ...]:
        return tuple(name for policy in self.policies for name in policy.monitors)

    def with_directions(self, directions: Directions) -> Self:
        settled = tuple(policy.with_directions(directions) for policy in self.policies)
        return replace(self, policies=settled)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.policies))


@dataclass(frozen=True)
class KeepLatest(KeepPolicy):
    """Keep the newest `n`.

    Args:
        n: how many.

    Raises:
        ConfigError: If n is not a whole number of at least 1.

    Example:
        >>> import ckptkit
        >>> ckptkit.KeepLatest(2)
        KeepLatest(n=2)
    """

    n: int = 2

    def __post_init__(self) -> None:
        check_count(self, "n")

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        newest_first = list(reversed(candidates))[: self.n]
        return {c.name: f"latest {i} of {self.n}" for i, c in enumerate(newest_first, start=1)}

    def lasting(self, candidates: Sequence[Candidate]) -> Reasons:
        return {}

    def gives_up(self, candidate: Candidate) -> str:
        return f"older than the latest {self.n}" if self.n > 1 else "not the latest"

    def most(self) -> int | None:
        return self.n


@dataclass(frozen=True)
class KeepBest(KeepPolicy):
    """Keep the `n` best by a metric; a value that is not finite is never the best.

    Checkpoints that `fit` saved in the middle of an epoch have averages over the batches so far.
    They count only while fewer than `n` checkpoints are from the end of an epoch.

    Args:
        monitor: the metric's name, as in Keras' logs (`"val_loss"`) or as passed to
            `log`/`maybe_save`.
        mode: `"min"` if smaller is better, `"max"` if larger is. The default `"auto"` infers
            it: for Keras' own metrics from the name, and for metric objects of the model from the
            object.
        n: how many.

    Raises:
        ConfigError: If `mode` or `n` is invalid. Also at the start of training, if `"auto"` cannot
            infer the direction.

    Example:
        >>> import ckptkit
        >>> ckptkit.KeepBest("val_loss", n=1)
        KeepBest(monitor='val_loss', mode='min', n=1)
    """

    monitor: str
    mode: ModeOrAuto = "auto"
    n: int = 1

    def __post_init__(self) -> None:
        known = given_or_inferred("KeepBest", self.monitor, self.mode)
        object.__setattr__(self, "mode", known)
        check_count(self, "n")

    @property
    def monitors(self) -> tuple[str, ...]:
        return (self.monitor,)

    def with_directions(self, directions: Directions) -> Self:
        return replace(self, mode=required("KeepBest", self.monitor, self.mode, directions))

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        mode = required("KeepBest", self.monitor, self.mode)
        ranked = rank(candidates, self.monitor, mode)[: self.n]
        return {
            c.name: f"best {i} of {self.n} by {self.monitor} ({c.metrics[self.monitor]:g})"
            for i, c in enumerate(ranked, start=1)
        }

    def gives_up(self, candidate: Candidate) -> str:
        value = candidate.metrics.get(self.monitor)
        if value is None:
            return f"has no {self.monitor}"
        return f"not among the best {self.n} by {self.monitor} ({value:g})"

    def most(self) -> int | None:
        return self.n

    def insists(self, moment: Moment, last: Moment) -> bool:
        value = moment.metrics.get(self.monitor)
        if value is None or not math.isfinite(value) or moment.running_averages:
            return False
        mode = required("KeepBest", self.monitor, self.mode)
        return self.n > 1 or is_record(value, moment.extremes.get(self.monitor), mode)


def rank(candidates: Sequence[Candidate], monitor: str, mode: Mode) -> list[Candidate]:
    """Return the candidates with a finite `monitor`, best first; of two equals the older first."""
    worst = float("inf") if mode == "min" else float("-inf")
    usable = [
        c for c in candidates if c.finite and better(c.metrics.get(monitor, worst), worst, mode)
    ]
    return sorted(
        usable,
        # Averages are excluded if possible, because the first batches of an epoch may be easy ones.
        key=lambda c: (
            c.running_averages,
            c.metrics[monitor] if mode == "min" else -c.metrics[monitor],
        ),
    )


@dataclass(frozen=True)
class KeepEveryNSteps(KeepPolicy):
    """Keep the first checkpoint at or after every multiple of `n` steps for ever.

    Args:
        n: the number of steps (training batches).

    Raises:
        ConfigError: If n is not a whole number of at least 1.

    Example:
        >>> import ckptkit
        >>> ckptkit.KeepEveryNSteps(10_000)
        KeepEveryNSteps(n=10000)
    """

    n: int

    def __post_init__(self) -> None:
        check_count(self, "n")

    def insists(self, moment: Moment, last: Moment) -> bool:
        return moment.position.step // self.n > last.position.step // self.n

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        reasons: Reasons = {}
        crossed = 0
        for candidate in candidates:
            if candidate.step // self.n > crossed:
                crossed = candidate.step // self.n
                reasons[candidate.name] = (
                    f"every {self.n} steps (first at or after {crossed * self.n})"
                )
        return reasons

    def gives_up(self, candidate: Candidate) -> str:
        return f"not the first at or after a multiple of {self.n} steps"


@dataclass(frozen=True)
class KeepEveryNHours(KeepPolicy):
    """Keep one checkpoint of every `n` hours for ever, by the time at which it was saved.

    The first checkpoint stays, and then each that is `n` hours or more after the last that stays.
    One that was saved at an earlier time than that stays too, because a clock was set back.

    Args:
        n: the number of hours, more than 0.

    Raises:
        ConfigError: If n is not a number above 0.

    Example:
        >>> import ckptkit
        >>> ckptkit.KeepLatest(3) | ckptkit.KeepEveryNHours(12)
        KeepLatest(n=3) | KeepEveryNHours(n=12)
    """

    n: float

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int | float) or not self.n > 0:
            raise ConfigError(
                f"KeepEveryNHours takes a number of hours above 0. Received: n={self.n!r}."
            )

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        reasons: Reasons = {}
        last: float | None = None
        for candidate in candidates:
            # Earlier than the last one: a clock was ahead, and would block the rule until then.
            if last is None or not last <= candidate.saved_at < last + 3600 * self.n:
                last = candidate.saved_at
                reasons[candidate.name] = f"one of every {self.n:g} hours"
        return reasons

    def gives_up(self, candidate: Candidate) -> str:
        return f"less than {self.n:g} hours after one that stays"
