"""Policies that decide when to save and which checkpoints to keep, as plain values."""

from ckptkit.policies.adaptive_saves import Adaptive
from ckptkit.policies.keep_policies import (
    Candidate,
    KeepBest,
    KeepEveryNSteps,
    KeepLatest,
    KeepPolicy,
    rank,
)
from ckptkit.policies.keep_verdicts import Verdict, decide, judge
from ckptkit.policies.metric_direction import inferred_direction
from ckptkit.policies.save_policies import (
    EveryNEpochs,
    EveryNSeconds,
    EveryNSteps,
    Moment,
    OnBest,
    SavePolicy,
)

__all__ = [
    "Adaptive",
    "Candidate",
    "EveryNEpochs",
    "EveryNSeconds",
    "EveryNSteps",
    "KeepBest",
    "KeepEveryNSteps",
    "KeepLatest",
    "KeepPolicy",
    "Moment",
    "OnBest",
    "SavePolicy",
    "Verdict",
    "decide",
    "inferred_direction",
    "judge",
    "rank",
]
