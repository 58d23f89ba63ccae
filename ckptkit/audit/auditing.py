"""Runs an audit: the trainings, one after the other, and then the comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from ckptkit.audit import audit_verdict, interruptions, sandbox
from ckptkit.audit.audited_training import Trained, Trainer, TrainingError
from ckptkit.audit.bit_comparison import BitComparison
from ckptkit.audit.checkpoint_comparison import compare
from ckptkit.audit.first_difference import (
    Compare,
    TrainingResult,
    began,
    own_places,
    python_places,
    result_of,
)
from ckptkit.audit.interruptions import InterruptionMoment, Length
from ckptkit.audit.sandbox import Sandbox, SandboxSource
from ckptkit.errors import CheckpointNotFoundError
from ckptkit.layout import RunLayout
from ckptkit.policies.even_spread import distance
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.events import AttemptStarted, Event, Inexact
from ckptkit.run.journal_reader import read_journal

UNINTERRUPTED, INTERRUPTED, AGAIN = "uninterrupted", "interrupted", "uninterrupted-again"
"""The names of the trainings, which are also the names of their directories."""


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """The settings of an audit.

    Args:
        home: the audit's own directory.
        user: the user's working directory.
        source: the files to copy into each working directory; None to work in the user's directory.
        seed: the seed of random interruptions.
        kills: the number of random interruptions.
        at: the steps at which to interrupt instead; empty for random steps.
        signals: the signals that interrupt, used in turn.
        every: the number of steps between compared checkpoints; 0 to spread a few over the run.
        baseline: whether to run the uninterrupted training twice even if nothing differs.
    """

    home: Path
    user: Path
    source: SandboxSource | None
    seed: int
    kills: int
    at: Sequence[int] = ()
    signals: Sequence[str] = interruptions.SIGNALS
    every: int = 0
    baseline: bool = False


@dataclass(kw_only=True)
class Audit:
    """The result of an audit.

    Args:
        verdict: whether the training is exact.
        trainings: the trainings by name, in the order in which they ran.
        results: for each run, the comparison of the interrupted training with the uninterrupted
            one.
        again: for each run, the comparison of two uninterrupted trainings; None if only one was
            run.
        own: for each run, the places of Python state that differ without any interruption, and so
            do not count.
        reasons: the reasons from the journals why a run cannot be exact.
        began_at: the steps at which the attempts of the interrupted training began, by run.
    """

    verdict: audit_verdict.Verdict = "exact"
    trainings: dict[str, Trained] = field(default_factory=dict)
    results: list[TrainingResult] = field(default_factory=list)
    again: list[TrainingResult] | None = None
    own: dict[str, set[str]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    began_at: dict[str, list[int]] = field(default_factory=dict)


class Say:
    """Receives the progress of an audit; the base class ignores it."""

    def begins(
        self, training: str, lengths: Sequence[Length], planned: Sequence[InterruptionMoment]
    ) -> None:
        """Called when a training begins; `lengths` are known after the first training."""

    def ended(self, training: str, trained: Trained) -> None:
        """Called when a training has ended."""

    def compares(self, run: str) -> None:
        """Called before the checkpoints of a run are compared."""


def audit(plan: AuditPlan, trainer: Trainer, say: Say) -> Audit:
    """Run the trainings of an audit, compare them, and return the result.

    Raises:
        TrainingError: If a training fails by itself, or does not use ckptkit.
        ConfigError: If the training does not reach a chosen interruption.
        CorruptCheckpointError, StorageError: If a checkpoint cannot be read.
        KeyboardInterrupt: If this process gets a signal to end.
    """
    found = Audit()

    def compare_now(left: Checkpoint, right: Checkpoint) -> BitComparison:
        trainer.check_interrupted()
        return compare(left, right)

    def results(trained: Trained) -> list[TrainingResult]:
        return _results(one.place, trained.place, found.own, say.compares, compare_now)

    def train(name: str, every: int, planned: Sequence[InterruptionMoment] = ()) -> Trained:
        trainer.check_interrupted()
        say.begins(name, lengths, planned)
        there = sandbox.make(plan.home / name, plan.source, plan.user)
        trained = found.trainings[name] = trainer.run(there, every, planned)
        say.ended(name, trained)
        return trained

    lengths: list[Length] = []
    one = train(UNINTERRUPTED, plan.every)
    lengths += _lengths(one, plan)
    every = plan.every or distance(max(length.steps for length in lengths))
    planned = (
        interruptions.chosen(lengths, plan.at, plan.signals)
        if plan.at
        else interruptions.random_moments(lengths, plan.kills, plan.seed, plan.signals)
    )
    other = train(INTERRUPTED, every, planned)
    untouched = _untouched(other)
    found.own = {
        name: own_places(*runs, untouched.get(name), compare_now)
        for name, runs in _runs(one.place, other.place).items()
    }
    found.results = results(other)
    found.began_at = {name: _began_at(_journal(path)) for name, path in other.place.runs().items()}
    found.reasons = _reasons([one.place, other.place])
    early = audit_verdict.differs_before_an_interruption(found.results, untouched)
    if plan.baseline or (not early and any(result.names for result in found.results)):
        again = train(AGAIN, every)
        found.again = results(again)
        more = {result.run: python_places(result.compared) for result in found.again}
        if any(more.values()):
            found.own = {name: places | more.get(name, set()) for name, places in found.own.items()}
            found.results, found.again = (results(each) for each in (other, again))
    found.verdict = audit_verdict.verdict(
        found.results,
        found.again,
        early=early,
        restored=any(any(steps) for steps in found.began_at.values()),
    )
    return found


def _lengths(trained: Trained, plan: AuditPlan) -> list[Length]:
    """Return the runs of the uninterrupted training with their lengths, in the order of opening.

    Raises:
        TrainingError: If it trained no run.
    """
    runs = trained.place.runs()
    if not runs or not trained.reported:
        raise TrainingError(_no_run(trained, plan))
    opened = sorted(
        runs, key=lambda name: min((event.time for event in _journal(runs[name])), default=0.0)
    )
    return [
        Length(name, checkpoints[-1].step)
        for name in opened
        if (checkpoints := list_checkpoints(RunLayout(runs[name]))) and checkpoints[-1].step
    ] or _nothing_trained(trained)


def _nothing_trained(trained: Trained) -> list[Length]:
    raise TrainingError(
        f"The training ended normally, but saved no checkpoint after a step. Expected a program "
        f"that trains. Its whole output is in {trained.place.log}."
    )


def _no_run(trained: Trained, plan: AuditPlan) -> str:
    left_out = plan.source.left_out if plan.source is not None else ()
    hint = (
        f" Not copied, because they are runs: {', '.join(map(str, left_out[:3]))} (see --link)."
        if left_out
        else ""
    )
    if trained.place.runs():
        return (
            f"The training has its own launcher, or the audit cannot communicate with it. Name "
            f"the training itself, without `ckptkit run`, as in: ckptkit audit -- python "
            f"train.py. Its whole output is in {trained.place.log}."
        )
    return (
        f"The training ended normally, but opened no run of ckptkit. Expected a program that "
        f"trains with CheckpointCallback or CheckpointManager.{hint} Its whole output is in "
        f"{trained.place.log}."
    )


Pair = tuple[list[Checkpoint], list[Checkpoint]]


def _runs(one: Sandbox, other: Sandbox) -> dict[str, Pair]:
    """Return for every run its checkpoints in both trainings.

    Raises:
        CheckpointNotFoundError: If a run has checkpoints in only one of both trainings.
    """
    runs, others = one.runs(), other.runs()
    found = {}
    for name in sorted({*runs, *others}):
        left, right = (
            list_checkpoints(RunLayout(paths[name])) if name in paths else []
            for paths in (runs, others)
        )
        if bool(left) != bool(right):
            raise CheckpointNotFoundError(
                f"{name} has checkpoints in only one of both trainings: {one.home} and "
                f"{other.home}. Expected a "
                f"script that trains the same runs each time."
            )
        if left and right:
            found[name] = (left, right)
    return found


def _results(
    one: Sandbox,
    other: Sandbox,
    own: Mapping[str, Set[str]],
    compares: Callable[[str], None],
    compare: Compare,
) -> list[TrainingResult]:
    """Compare the checkpoints of every run between two trainings."""
    paths, results = other.runs(), []
    for name, (left, right) in _runs(one, other).items():
        compares(name)
        results.append(
            result_of(name, left, right, _journal(paths[name]), compare, own.get(name, set()))
        )
    return results


def _journal(run: Path) -> Sequence[Event]:
    return read_journal(RunLayout(run)).events


def _untouched(trained: Trained) -> Mapping[str, int]:
    """Return for each run the attempt that began before the first interruption."""
    first = min(
        (each.start.time for each in trained.interruptions if each.start.step is not None),
        default=float("inf"),
    )
    starts = {
        name: [event for event in _journal(path) if isinstance(event, AttemptStarted)]
        for name, path in trained.place.runs().items()
    }
    return {
        name: min(event.attempt for event in found)
        for name, found in starts.items()
        if found and min(event.time for event in found) < first
    }


def _began_at(events: Sequence[Event]) -> list[int]:
    """Return for each run the steps at which its attempts began."""
    known = began(events)
    return [known.get(event.attempt, 0) for event in events if isinstance(event, AttemptStarted)]


def _reasons(places: Sequence[Sandbox]) -> list[str]:
    reasons = [
        event.reason
        for each in places
        for path in each.runs().values()
        for event in _journal(path)
        if isinstance(event, Inexact)
    ]
    return list(dict.fromkeys(reasons))
