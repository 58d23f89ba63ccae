"""Which steps an attempt has done, which of them were lost, and which were done again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ckptkit.report.ledger import Stretch
from ckptkit.report.moments import moment
from ckptkit.store.events import (
    AttemptEnded,
    Event,
    Failed,
    Finished,
    Preempted,
    Progressed,
    RequestServed,
    Restored,
    Saved,
    SaveDropped,
    SaveFailed,
    TrainingStarted,
)


@dataclass
class Way:
    """A stretch that is still being put together; see `Stretch`.

    Args:
        first, since, last, trained_at, points: as there.
        resumed: whether it began with a checkpoint.
        saved: the newest step of it that was committed, or where it went on.
    """

    first: int
    since: float
    last: int
    trained_at: float | None = None
    points: list[tuple[float, int]] = field(default_factory=list)
    resumed: bool = False
    saved: int = 0
    kept: int = 0
    redone: int = 0

    def comes_to(self, step: int, time: float | None = None) -> None:
        """At a moment this was the last step; a step may be known without it."""
        self.last = max(self.last, step)
        if time is not None:
            before, reached = self.points[-1] if self.points else (self.since, self.first)
            self.points.append((max(time, before), max(step, reached)))

    @property
    def has_trained(self) -> bool:
        """Whether it has begun steps that are not those of before."""
        return self.trained_at is not None or self.last > self.first

    def done(self) -> Stretch:
        """It, as it is kept."""
        return Stretch(first=self.first, last=self.last, kept=self.kept, redone=self.redone, since=self.since, trained_at=self.trained_at,
                       points=tuple(self.points))


def ways_of(own: Sequence[Event], start: float) -> list[Way]:
    """The stretches of one attempt.

    Args:
        own: its events, as it has written them.
        start: when it began.
    """
    ways: list[Way] = []
    for event in own:
        kind = type(event)
        if kind in _ALONG:
            assert isinstance(event, Progressed | Saved)
            if not ways:  # a loop that names its steps itself tells of no beginning
                ways.append(Way(0, start, 0))
            way = ways[-1]
            if kind is Saved:
                assert isinstance(event, Saved)
                taken = moment(event.taken_at) if event.taken_at is not None else moment(event.time - event.write_secs)
                way.comes_to(event.step, taken)
                way.saved = max(way.saved, event.step)
            else:
                way.comes_to(event.step, moment(event.time))
        elif isinstance(event, Restored):
            ways.append(Way(event.step, moment(event.time), event.step, resumed=True, saved=event.step))
        elif isinstance(event, TrainingStarted):
            if not ways:
                ways.append(Way(event.step, moment(event.time), event.step, saved=event.step))
            ways[-1].comes_to(event.step, moment(event.time))
            if ways[-1].trained_at is None:
                ways[-1].trained_at = moment(event.time)
        elif ways and isinstance(event, SaveDropped | SaveFailed):
            ways[-1].comes_to(event.step)
        elif ways and isinstance(event, RequestServed | Failed | Finished | AttemptEnded):
            ways[-1].comes_to(event.step, moment(event.time))
        elif ways and isinstance(event, Preempted):
            ways[-1].comes_to(event.step, moment(event.time - event.secs))
            ways[-1].saved = max(ways[-1].saved, event.step)
    return ways


_ALONG = frozenset({Progressed, Saved})
"""The kinds of which there are many, and which prove that steps were made."""


class Account:
    """What became of the steps of one life, told one stretch after the other."""

    def __init__(self) -> None:
        self._kept: list[Way] = []  # they follow one another: each begins where what is kept of the one before it ends, or later
        self._highest: int | None = None

    def add(self, way: Way) -> None:
        """A stretch follows: what earlier ones had done beyond its beginning is lost. One that has made no step has only looked."""
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
