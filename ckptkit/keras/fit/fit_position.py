"""The place in `fit`: which epochs and evaluations were run, how many calls each took, and how far
the present one has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ckptkit.session.measured_metrics import Several


@dataclass
class EpochPass:
    """One pass over data: an epoch of training, or an evaluation.

    Args:
        calls: calls of the train or test function that brought a batch.
        ended: whether the data ended it, with one more call that brought none (data of unknown
            length).
    """

    calls: int = 0
    ended: bool = False

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EpochPass:
        """The pass that a checkpoint describes; what a later version says of it beyond that is left
        out.
        """
        return cls(**{name: state[name] for name in cls.__dataclass_fields__ if name in state})


@dataclass
class FitPosition:
    """How far a `fit` has come.

    Args:
        first_epoch: where it began, in its first attempt.
        epochs: the epochs that are over, from `first_epoch` on.
        evaluations: the evaluations that are over.
        now: the epoch that has begun.
        per_call: batches in a call (`steps_per_execution`).
        evaluating: whether the present epoch's training is over and its evaluation begins.
        drawn_again: why data must be drawn again on a resume, or None where an iterator's state is
            saved.
        evaluation_drawn_again: the same for the evaluation's data.
        logs: of the last call.
        evaluation_logs: of the last call of an evaluation.
        pipeline: what the data's pipeline is made of, and the form of its batches.
        batches: in an epoch, or None where that is not known.
        random: Python's and NumPy's random states when `fit` began.
        random_of_epoch: the same when the present epoch began.
    """

    first_epoch: int = 0
    epochs: list[EpochPass] = field(default_factory=list)
    evaluations: list[EpochPass] = field(default_factory=list)
    now: EpochPass = field(default_factory=EpochPass)
    per_call: int = 1
    evaluating: bool = False
    drawn_again: str | None = None
    evaluation_drawn_again: str | None = None
    logs: dict[str, Any] = field(default_factory=dict)
    evaluation_logs: dict[str, Any] = field(default_factory=dict)
    pipeline: list[str] = field(default_factory=list)
    batches: int | None = None
    random: dict[str, Any] | None = None
    random_of_epoch: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """The number of the present epoch."""
        return self.first_epoch + len(self.epochs)

    def to_state(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FitPosition:
        """The place that `to_state` described."""
        known = {name: state[name] for name in cls.__dataclass_fields__ if name in state}
        known["epochs"] = [EpochPass.from_state(each) for each in known.get("epochs", [])]
        known["evaluations"] = [EpochPass.from_state(each) for each in known.get("evaluations", [])]
        known["now"] = EpochPass.from_state(known.get("now", {}))
        return cls(**known)

    def with_per_call(self, per_call: int) -> FitPosition | None:
        """The same place for another number of batches in a call; None where a call would not end
        there.
        """
        if per_call == self.per_call:
            return self
        done = self.now.calls * self.per_call
        if done % per_call:
            return None
        scaled = [
            EpochPass(-(-each.calls * self.per_call // per_call), each.ended)
            for each in self.epochs
        ]
        return FitPosition(
            **{
                **vars(self),
                "epochs": scaled,
                "now": EpochPass(done // per_call, self.now.ended),
                "per_call": per_call,
            }
        )


def plain_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    """What a step has returned, as numbers, and as arrays where a metric has several values (F1 by
    class); what is neither is left out.
    """
    arrays = {name: np.asarray(value) for name, value in logs.items()}
    arrays = {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        for name, array in arrays.items()
    }
    return {
        name: array if array.ndim else float(array)
        for name, array in arrays.items()
        if array.dtype.kind in "biuf"
    }


def measured(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs of Keras for policies and manifests; numbers are not converted yet."""
    return {name: Several(value) if np.ndim(value) else value for name, value in logs.items()}


def not_finite(logs: Mapping[str, Any]) -> list[str]:
    """The loss, or where there is none every metric, that has become infinite or no number; in
    words.
    """
    plain = plain_logs(logs)
    judged = {"loss": plain["loss"]} if "loss" in plain else plain
    return [f"{name}={value}" for name, value in judged.items() if not np.isfinite(value).all()]
