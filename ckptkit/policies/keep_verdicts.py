"""Decides which checkpoints stay under a keep policy and the rules for all policies. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptkit.policies.keep_policies import Candidate, KeepPolicy, Reasons, merge_reasons
from ckptkit.policies.metric_order import (
    all_finite,
)


def always(candidates: Sequence[Candidate]) -> Reasons:
    """Return the checkpoints that stay under any policy: the newest, and the newest finite one.

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
            unmeasured[-1].name, "newest without metrics, because none has finite metrics"
        )
    return reasons


def decide(policy: KeepPolicy, candidates: Sequence[Candidate]) -> Reasons:
    """Return the checkpoints that stay under `policy` or under the rules for all policies.

    Args:
        policy: the user's keep policy.
        candidates: the run's checkpoints, oldest first.

    Returns:
        The names that stay, with reasons; all other checkpoints may be removed.
    """
    return {**always(candidates), **policy.keep(candidates)}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision about one checkpoint: whether it stays, and why.

    Args:
        name: the name of its directory.
        stays: whether it stays.
        reason: the reason for the decision.
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
    """Decide for each checkpoint whether it stays.

    Args:
        policy: the user's keep policy.
        candidates: the run's checkpoints, oldest first.
        protected: the checkpoints that stay for a reason outside of policies, such as a pin, with
            that reason.
        coming: a checkpoint that is about to be written. It replaces checkpoints that are kept only
            for being new. All others stay, because its save may fail.

    Returns:
        A decision about each candidate, in the same order.
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
