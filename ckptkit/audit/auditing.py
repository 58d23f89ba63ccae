"""Runs an audit: its trainings in their order, and the comparisons."""

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
from ckptkit.run.journal import read_journal

UNINTERRUPTED, INTERRUPTED, AGAIN = "uninterrupted", "interrupted", "uninterrupted-again"
"""The trainings, and the names of their directories."""


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What an audit has to do.

    Args:
        home: the audit's own directory.
        user: the user's working directory.
        source: what a training's working directory holds; None if it is the user's.
        seed: the seed of random interruptions.
        kills: how many of them.
        at: chosen steps instead; empty for random ones.
        signals: their signals, in turn.
        every: steps between two checkpoints that are compared; 0 for some over the whole run.
        baseline: whether the uninterrupted training is run twice in any case.
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
    """Result of an audit.

    Args:
        verdict: whether the training is exact.
        trainings: by name, in the order in which they were run.
        results: the interrupted training beside the uninterrupted one, by run.
        again: the second uninterrupted one beside the first; None if there was none.
        own: places of Python state, by run, that differ between uninterrupted trainings and do not
            count.
        reasons: why runs cannot be exact, from their journals.
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
    """Gets the progress of an audit; this one ignores it."""

    def begins(
        self, training: str, lengths: Sequence[Length], planned: Sequence[InterruptionMoment]
    ) -> None:
        """A training begins; `lengths` are known after the first one."""

    def ended(self, training: str, trained: Trained) -> None:
        """A training has ended."""

    def compares(self, run: str) -> None:
        """The checkpoints of a run are compared."""


def audit(plan: AuditPlan, trainer: Trainer, say: Say) -> Audit:
    """Run the trainings, and compare them.

    Raises:
        TrainingError: If a training fails by itself, or is not one with ckptkit.
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
    found.verdict = audit_verdict.verdict(found.results, found.again, early=early)
    return found


def _lengths(trained: Trained, plan: AuditPlan) -> list[Length]:
    """Return the runs of the uninterrupted training, in the order of opening, with their steps.

    Raises:
        TrainingError: If there is none.
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
        "The training ended well and has saved no checkpoint of a step. Expected a run that "
        "trains. All that it printed is in "
        f"{trained.place.log}."
    )


def _no_run(trained: Trained, plan: AuditPlan) -> str:
    left_out = plan.source.left_out if plan.source is not None else ()
    hint = (
        f" Not copied, being runs: {', '.join(map(str, left_out[:3]))} (see --link)."
        if left_out
        else ""
    )
    if trained.place.runs():
        return (
            "The training has a launcher of its own, or runs where the audit cannot hear it. "
            "Name the training itself, without `ckptkit run`, "
            "as in: ckptkit audit -- python train.py. All that it printed is in "
            f"{trained.place.log}."
        )
    return (
        "The training ended well and has opened no run of ckptkit. Expected a program that "
        "trains with CheckpointCallback or "
        f"CheckpointManager.{hint} All that it printed is in {trained.place.log}."
    )


Pair = tuple[list[Checkpoint], list[Checkpoint]]


def _runs(one: Sandbox, other: Sandbox) -> dict[str, Pair]:
    """Return the checkpoints of every run, in two trainings.

    Raises:
        CheckpointNotFoundError: If one has a run, or checkpoints of it, that the other has not.
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
                f"{name} has checkpoints in one training and none in the other: {one.home} and "
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
    """Compare every run that both trainings have."""
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
    """Return the attempt of each run that began before the first interruption."""
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
    """Return the step at which each attempt began."""
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
