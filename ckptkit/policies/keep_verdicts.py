"""Verdicts on checkpoints: which stay under a keep policy and the rules that always hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptkit.policies.keep_policies import Candidate, KeepPolicy, Reasons, merge_reasons
from ckptkit.policies.metric_order import (
    all_finite,
)


def always(candidates: Sequence[Candidate]) -> Reasons:
    """Returns what stays under any policy: the newest, and the newest with finite metrics.

    Args:
        candidates: the run's checkpoints, oldest first.
    """
    reasons: Reasons = {}
    if candidates:
        reasons[candidates[-1].name] = "newest"
    good = [c for c in candidates if c.finite]
    finite = [c for c in good if c.metrics and all_finite(c.metrics)]
    unmeasured = [c for c in good if not c.metrics]
    if good and len(good) < len(candidates):
        reasons.setdefault(good[-1].name, "newest with finite weights")
    if finite:
        reasons.setdefault(finite[-1].name, "newest with finite metrics")
    elif unmeasured:
        reasons.setdefault(
            unmeasured[-1].name, "newest without metrics, as no other has finite ones"
        )
    return reasons


def decide(policy: KeepPolicy, candidates: Sequence[Candidate]) -> Reasons:
    """Returns what stays under `policy` and under the two rules that always hold.

    Args:
        policy: the user's keep policy.
        candidates: the run's checkpoints, oldest first.

    Returns:
        Names that stay, with reasons; everything else may be removed.
    """
    return {**always(candidates), **policy.keep(candidates)}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a checkpoint stays, and why.

    Args:
        name: its directory's name.
        stays: whether it stays.
        reason: why it stays, or why not.
    """

    name: str
    stays: bool
    reason: str


def judge(
    policy: KeepPolicy,
    candidates: Sequence[Candidate],
    *,
    protected: Mapping[str, str] | None = None,
    coming: Candidate | None = None,
) -> list[Verdict]:
    """Decides for each checkpoint whether it stays.

    Args:
        policy: the user's keep policy.
        candidates: the run's checkpoints, oldest first.
        protected: those that stay for a reason outside of any policy, such as a pin, with that
            reason.
        coming: one that is about to be written. What is kept only for being new gives way to it
            now. Everything else stays as if it were not coming, because its save may fail.

    Returns:
        A verdict on each candidate, in their order.
    """
    stay = decide(policy, candidates)
    if coming is not None:
        after = policy.keep([*(c for c in candidates if c.name != coming.name), coming])
        stay = merge_reasons([after, policy.lasting(candidates), always(candidates)])
    stay = merge_reasons([stay, protected or {}])
    return [
        Verdict(name=c.name, stays=c.name in stay, reason=stay.get(c.name) or policy.gives_up(c))
        for c in candidates
    ]
