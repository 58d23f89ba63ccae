"""Policies that decide when to save and which checkpoints to keep, as plain values."""

from ckptkit.policies.adaptive_saves import Adaptive
from ckptkit.policies.adopt import Adopt, check_adopt
from ckptkit.policies.best_saves import with_best
from ckptkit.policies.foreign_arguments import check_foreign_arguments
from ckptkit.policies.keep_policies import (
    Candidate,
    KeepBest,
    KeepEveryNHours,
    KeepEveryNSteps,
    KeepLatest,
    KeepPolicy,
    rank,
)
from ckptkit.policies.keep_verdicts import Verdict, decide, judge
from ckptkit.policies.metric_direction import inferred_direction
from ckptkit.policies.older_checkpoints import KeepOlder
from ckptkit.policies.save_policies import (
    EveryNEpochs,
    EveryNSeconds,
    EveryNSteps,
    Moment,
    OnBest,
    SavePolicy,
)
from ckptkit.policies.warm_start import WarmStart, check_init_from

__all__ = [
    "Adaptive",
    "Adopt",
    "Candidate",
    "EveryNEpochs",
    "EveryNSeconds",
    "EveryNSteps",
    "KeepBest",
    "KeepEveryNHours",
    "KeepEveryNSteps",
    "KeepLatest",
    "KeepOlder",
    "KeepPolicy",
    "Moment",
    "OnBest",
    "SavePolicy",
    "Verdict",
    "WarmStart",
    "check_adopt",
    "check_foreign_arguments",
    "check_init_from",
    "decide",
    "inferred_direction",
    "judge",
    "rank",
    "with_best",
]
