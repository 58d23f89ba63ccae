"""Where the time of one attempt went. Pure; in whole microseconds, so that all parts sum to the whole.

What the process has told of itself (`spent`, in `progressed` and `attempt_ended`) comes first. For the time after its last word, and for journals
of before there was such a word, the other events say what they can.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckptkit.report.moments import micros
from ckptkit.report.own import Own
from ckptkit.store.events import (
    AttemptEnded,
    Failed,
    Finished,
    ForegroundSaves,
    Preempted,
    Progressed,
    Restored,
    Saved,
)

STEPS = "steps"
"""Steps, and the evaluations and callbacks between them, whether they count or were lost."""

_KIND_OF = {
    "preparing": "training_preparation", "restoring": "checkpoint_restore", "drawing_again": "data_loading", "data": "data_loading",
    "first_step": "program_startup", "training": STEPS, "evaluating": STEPS, "saving": "checkpoint_save",
}
"""What the words of `spent` count as; all others are something else."""

KINDS = (STEPS, "training_preparation", "program_startup", "data_loading", "checkpoint_save", "checkpoint_restore", "other")


@dataclass(frozen=True)
class Parts:
    """Where the time of an attempt went.

    Args:
        micros: microseconds by kind.
        pace: moments, and how much of `STEPS` was over then, both in microseconds; neither goes back.
    """

    micros: Mapping[str, int]
    pace: Sequence[tuple[int, int]]

    def at(self, time: int) -> int:
        """How much of `STEPS` was over at a moment."""
        return interpolated(self.pace, time)


def parts_of(own: Own, start: int, end: int, *, trained: int | None, hung: int | None = None) -> Parts:
    """Divides the time of an attempt.

    Args:
        own: its events.
        start, end: of what is to be divided.
        trained: when its first step began, or None where it made none.
        hung: since when it did not get on any more, where its launcher ended it for that.
    """
    reports = _reports(own)
    found, at = dict.fromkeys(KINDS, 0), start
    if reports:
        at = _between(start, micros(reports[-1].time), end)
        found = _fitted(_counted(reports[-1].spent), at - start)
    begin = end if trained is None else _between(at, trained, end)
    stop = _between(begin, hung if hung is not None else _end_of_training(own, end), end)

    def divide(width: int, rest: str, *taken: tuple[str, int]) -> None:
        for kind, most in taken:
            part = min(most, width)
            found[kind] += part
            width -= part
        found[rest] += width

    divide(begin - at, "training_preparation", ("checkpoint_restore", _restoring(own, at, begin)))
    divide(stop - begin, STEPS, ("checkpoint_restore", _restoring(own, begin, stop)), ("checkpoint_save", _stalls(own, at)))
    divide(end - stop, "other", ("checkpoint_save", sum(micros(event.secs) for event in own.all(Preempted) if micros(event.time) > at)))
    pace = [(start if trained is None else trained, 0), *((micros(report.time), _counted(report.spent)[STEPS]) for report in reports)]
    return Parts(found, _rising([*pace, (stop, found[STEPS])], end, found[STEPS]))


def stall_of(own: Own) -> int:
    """Microseconds for which training stood still for saves, whenever that was."""
    reports = _reports(own)
    told, at = (_counted(reports[-1].spent)["checkpoint_save"], micros(reports[-1].time)) if reports else (0, -1)
    return told + _stalls(own, at) + sum(micros(event.secs) for event in own.all(Preempted) if micros(event.time) > at)


def _reports(own: Own) -> list[Progressed | AttemptEnded]:
    return [*own.all(Progressed), *(event for event in own.all(AttemptEnded) if event.spent)]


def _counted(spent: Mapping[str, float]) -> dict[str, int]:
    """What was spent, by the kinds of here."""
    found = dict.fromkeys(KINDS, 0)
    for what, secs in spent.items():
        found[_KIND_OF.get(what, "other")] += micros(secs)
    return found


def _fitted(found: dict[str, int], width: int) -> dict[str, int]:
    """The parts of a time that has this width by the clock on the wall. That one may have been set, or the machine may have slept: what it has
    more is something else, and what it has less is taken from the steps first.
    """
    excess = sum(found.values()) - width
    found["other"] += max(0, -excess)
    for kind in KINDS:
        less = min(max(excess, 0), found[kind])
        found[kind] -= less
        excess -= less
    return found


def _end_of_training(own: Own, end: int) -> int:
    """When the last step was over: the waiting for the last save before a stop is no step, nor is the export after the end."""
    known = [micros(event.time) for kind in (Finished, Failed, AttemptEnded) for event in own.all(kind)]
    return min([end, *known, *(micros(event.time - event.secs) for event in own.all(Preempted))])


def _restoring(own: Own, after: int, until: int) -> int:
    return sum(micros(event.secs) for event in own.all(Restored) if after < micros(event.time) <= until)


def _stalls(own: Own, after: int) -> int:
    """For how long training stood still for saves that were told after a moment: for the snapshot; for the writing as well where that was done in
    the foreground, and of the last one, for which the end of training waits.
    """
    foreground = own.first(ForegroundSaves) is not None
    return sum(micros(event.snapshot_secs) + (micros(event.write_secs) if foreground or event.final else 0)
               for event in own.all(Saved) if micros(event.time) > after)


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _rising(points: Iterable[tuple[int, int]], last: int, most: int) -> list[tuple[int, int]]:
    """Points of which neither number goes back, or beyond its end."""
    rising: list[tuple[int, int]] = []
    time = done = 0
    for at, value in points:
        time, done = max(time, min(at, last)), max(done, min(value, most))
        rising.append((time, done))
    return rising


def interpolated(points: Sequence[tuple[int, int]], at: int) -> int:
    """The second number where the first one is `at`, on straight lines between points; before the first and after the last one it stands still."""
    place = bisect_right(points, at, key=lambda point: point[0])
    if place in (0, len(points)):
        return points[0 if place == 0 else -1][1]
    (x0, y0), (x1, y1) = points[place - 1], points[place]
    return y0 + (y1 - y0) * (at - x0) // (x1 - x0)
