"""Finds the steps of each attempt, and which of them were lost or repeated. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptkit.report.attempt_ledger import StepStretch
from ckptkit.report.clamp_time import moment
from ckptkit.run.events import (
    AttemptEnded,
    Event,
    Failed,
    Finished,
    Progressed,
    RequestServed,
    Restored,
    RunPreempted,
    Saved,
    SaveDropped,
    SaveFailed,
    TrainingStarted,
)


@dataclass
class StretchBuilder:
    """A stretch whose numbers may still change; see `StepStretch`.

    Args:
        first, since, trained_at, along, last, kept, redone: as in `StepStretch`.
        resumed: whether it began with a checkpoint.
        saved: the newest of its steps that has a checkpoint, or `first`.
    """

    first: int
    since: float
    trained_at: float | None = None
    along: list[Event] = field(default_factory=list)
    resumed: bool = False
    last: int = 0
    saved: int = 0
    kept: int = 0
    redone: int = 0

    def count_steps(self) -> None:
        """Set the last step and the last saved step; call it after all events were added."""
        along: list[Any] = list(self.along)  # all kinds in _ALONG have a step
        self.last = max([self.first, *(event.step for event in along)])
        self.saved = max([self.first, *(event.step for event in along if type(event) in _SAVED)])

    @property
    def has_trained(self) -> bool:
        """Whether the stretch has begun a step."""
        return self.trained_at is not None or self.last > self.first

    def build(self) -> StepStretch:
        """Return the finished stretch."""
        return StepStretch(
            first=self.first,
            last=self.last,
            kept=self.kept,
            redone=self.redone,
            since=self.since,
            trained_at=self.trained_at,
            along=self.along,
        )


def build_stretches(
    own: Sequence[Event], start: float, further: Event | None = None
) -> list[StretchBuilder]:
    """Return the stretches of one attempt.

    Args:
        own: the attempt's events, in the order in which they were written.
        start: when the attempt began.
        further: the last step that it reported to its launcher, or None.
    """
    stretches: list[StretchBuilder] = []
    along: list[Event] | None = None
    for event in own:
        kind = type(event)
        if kind in _ALONG:
            # A loop that passes its own step numbers to `save` records no TrainingStarted.
            if along is None and kind in _TRAINED:
                stretches.append(StretchBuilder(0, start))
                along = stretches[-1].along
            if along is not None:
                along.append(event)
        elif kind is Restored or kind is TrainingStarted:
            assert isinstance(event, Restored | TrainingStarted)
            if kind is Restored or along is None:
                stretches.append(
                    StretchBuilder(event.step, moment(event.time), resumed=kind is Restored)
                )
                along = stretches[-1].along
            if kind is TrainingStarted:
                stretches[-1].along.append(event)
                if stretches[-1].trained_at is None:
                    stretches[-1].trained_at = moment(event.time)
    if along is not None and further is not None:
        along.append(further)
    for stretch in stretches:
        stretch.count_steps()
    return stretches


_TRAINED = frozenset({Progressed, Saved})
"""The kinds of events that prove that steps were done."""

_ALONG = _TRAINED | {
    SaveDropped,
    SaveFailed,
    RequestServed,
    RunPreempted,
    Failed,
    Finished,
    AttemptEnded,
}
"""The kinds of events that name a step that was reached."""

_SAVED = frozenset({Saved, RunPreempted})
"""The kinds of events that name a step that was saved."""


class StepAccount:
    """Which steps of one life count, were lost or were repeated, added up stretch by stretch."""

    def __init__(self) -> None:
        # Each stretch begins at the end of the kept steps of the previous one, or later.
        self._kept: list[StretchBuilder] = []
        self._highest: int | None = None

    def add(self, stretch: StretchBuilder) -> None:
        """Add the next stretch. Steps of earlier stretches beyond its beginning are lost."""
        stretch.kept = stretch.last
        # A process that only restored, for example to evaluate, loses no steps of others.
        if not stretch.has_trained:
            return
        self.cut(stretch.first)
        if self._highest is not None:
            stretch.redone = max(0, min(stretch.last, self._highest) - stretch.first)
        self._highest = stretch.last if self._highest is None else max(self._highest, stretch.last)
        self._kept.append(stretch)

    def cut(self, step: int) -> None:
        """Mark all steps beyond a step as lost, because the run resumes from it."""
        while self._kept and self._kept[-1].kept > step:
            stretch = self._kept[-1]
            stretch.kept = max(stretch.first, step)
            if stretch.kept > step or stretch.kept == stretch.first:
                self._kept.pop()
            else:
                return
