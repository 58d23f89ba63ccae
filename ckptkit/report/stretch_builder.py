"""Which steps an attempt has done, which of them were lost, and which were done again. Pure."""

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
    """A stretch that is still being put together; see `Stretch`.

    Args:
        first, since, trained_at, along, last, kept, redone: as there.
        resumed: whether it began with a checkpoint.
        saved: the newest step of it that was committed, or where it went on.
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

    def settle(self) -> None:
        """All of its events are there."""
        along: list[Any] = list(self.along)  # each kind that is kept here has a step
        self.last = max([self.first, *(event.step for event in along)])
        self.saved = max([self.first, *(event.step for event in along if type(event) in _SAVED)])

    @property
    def has_trained(self) -> bool:
        """Whether it has begun steps that are not those of before."""
        return self.trained_at is not None or self.last > self.first

    def done(self) -> StepStretch:
        """It, as it is kept."""
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
    """The stretches of one attempt.

    Args:
        own: its events, as it has written them.
        start: when it began.
        further: of its launcher, which has heard of a last step.
    """
    ways: list[StretchBuilder] = []
    along: list[Event] | None = None
    for event in own:
        kind = type(event)
        if kind in _ALONG:
            if (
                along is None and kind in _MADE
            ):  # a loop that names its steps itself tells of no beginning
                ways.append(StretchBuilder(0, start))
                along = ways[-1].along
            if along is not None:
                along.append(event)
        elif kind is Restored or kind is TrainingStarted:
            assert isinstance(event, Restored | TrainingStarted)
            if kind is Restored or along is None:
                ways.append(
                    StretchBuilder(event.step, moment(event.time), resumed=kind is Restored)
                )
                along = ways[-1].along
            if kind is TrainingStarted:
                ways[-1].along.append(event)
                if ways[-1].trained_at is None:
                    ways[-1].trained_at = moment(event.time)
    if along is not None and further is not None:
        along.append(further)
    for way in ways:
        way.settle()
    return ways


_MADE = frozenset({Progressed, Saved})
"""The kinds that prove that steps were made."""

_ALONG = _MADE | {
    SaveDropped,
    SaveFailed,
    RequestServed,
    RunPreempted,
    Failed,
    Finished,
    AttemptEnded,
}
"""The kinds that name a step that was reached, and of which there may be many."""

_SAVED = frozenset({Saved, RunPreempted})
"""Those that name one that was saved."""


class StepAccount:
    """What became of the steps of one life, told one stretch after the other."""

    def __init__(self) -> None:
        self._kept: list[
            StretchBuilder
            # they follow one another: each begins where what is kept of the one before it ends, or
            # later
        ] = []
        self._highest: int | None = None

    def add(self, way: StretchBuilder) -> None:
        """A stretch follows: what earlier ones had done beyond its beginning is lost. One that has
        made no step has only looked.
        """
        way.kept = way.last
        if not way.has_trained:
            return
        self.cut(way.first)
        if self._highest is not None:
            way.redone = max(0, min(way.last, self._highest) - way.first)
        self._highest = way.last if self._highest is None else max(self._highest, way.last)
        self._kept.append(way)

    def cut(self, step: int) -> None:
        """The run goes on from a step: what was done beyond it is lost."""
        while self._kept and self._kept[-1].kept > step:
            way = self._kept[-1]
            way.kept = max(way.first, step)
            if way.kept > step or way.kept == way.first:
                self._kept.pop()
            else:
                return
