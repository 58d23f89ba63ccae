"""Splits the wall time of one attempt by how it was spent. Pure.

All times are whole microseconds, so that the parts sum exactly to the whole. What the process
recorded itself (`spent`, in `progressed` and `attempt_ended`) counts first. For the time after its
last record, and for old journals without such records, the split is derived from the other events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptkit.report.attempt_events import AttemptEvents
from ckptkit.report.clamp_time import micros
from ckptkit.run.events import (
    AttemptEnded,
    Failed,
    Finished,
    ForegroundSaves,
    Progressed,
    Restored,
    RunPreempted,
    Saved,
    TrainingStarted,
)

STEPS = "steps"
"""Steps, with the evaluations and callbacks between them, whether they count or were lost."""

_KIND_OF = {
    "preparing": "training_preparation",
    "restoring": "checkpoint_restore",
    "drawing_again": "data_loading",
    "data": "data_loading",
    "first_step": "program_startup",
    "training": STEPS,
    "evaluating": STEPS,
    "saving": "checkpoint_save",
}
"""The kind for each word of `spent`; all other words count as `other`."""

KINDS = (
    STEPS,
    "training_preparation",
    "program_startup",
    "data_loading",
    "checkpoint_save",
    "checkpoint_restore",
    "other",
)


@dataclass(frozen=True)
class TimeSplit:
    """The wall time of an attempt, split by how it was spent.

    Args:
        micros: microseconds by kind.
        begin, stop: when its steps began and ended, in microseconds since the epoch.
        reports: what it recorded about its steps.
    """

    micros: Mapping[str, int]
    begin: int
    stop: int
    reports: Sequence[Progressed | AttemptEnded] = ()

    def at(self, time: int) -> int:
        """Return how much of `STEPS` had passed at a moment, in microseconds.

        Between known moments it is interpolated.
        """
        later = self.stop, self.micros[STEPS]
        if time >= later[0]:
            return later[1]
        for report in reversed(self.reports):
            known = (
                _clamped(self.begin, micros(report.time), self.stop),
                min(_steps(report.spent), self.micros[STEPS]),
            )
            if known[0] <= time:
                return _interpolated(known, later, time)
            later = known
        return _interpolated((self.begin, 0), later, time)


def split_wall_time(
    own: AttemptEvents, start: int, end: int, *, trained: int | None, hung: int | None = None
) -> TimeSplit:
    """Split the wall time of an attempt.

    Args:
        own: the attempt's events.
        start, end: the time to split.
        trained: when its first step began, or None without a step.
        hung: when it made its last progress, if its launcher ended it for a hang.
    """
    reports = _reports(own)
    found, at = dict.fromkeys(KINDS, 0), start
    if reports:
        at = _clamped(start, micros(reports[-1].time), end)
        found = _fitted(_counted(reports[-1].spent), at - start)
    begin = end if trained is None else _clamped(at, trained, end)
    stop = _clamped(begin, hung if hung is not None else _end_of_training(own, end), end)

    def divide(width: int, rest: str, *taken: tuple[str, int]) -> None:
        for kind, most in taken:
            part = min(most, width)
            found[kind] += part
            width -= part
        found[rest] += width

    divide(begin - at, "training_preparation", ("checkpoint_restore", _restoring(own, at, begin)))
    divide(
        stop - begin,
        STEPS,
        ("checkpoint_restore", _restoring(own, begin, stop)),
        ("checkpoint_save", _stalls(own, at)),
    )
    divide(
        end - stop,
        "other",
        (
            "checkpoint_save",
            sum(micros(event.secs) for event in own.all(RunPreempted) if micros(event.time) > at),
        ),
    )
    return TimeSplit(
        found, _clamped(start, start if trained is None else trained, stop), stop, reports
    )


def stall_micros(own: AttemptEvents) -> int:
    """Return for how many microseconds training stood still for saves."""
    reports = _reports(own)
    recorded, at = (
        (_counted(reports[-1].spent)["checkpoint_save"], micros(reports[-1].time))
        if reports
        else (0, -1)
    )
    return (
        recorded
        + _stalls(own, at)
        + sum(micros(event.secs) for event in own.all(RunPreempted) if micros(event.time) > at)
    )


def _reports(own: AttemptEvents) -> list[Progressed | AttemptEnded]:
    return [
        *(event for event in own.all(Progressed) if event.spent),
        *(event for event in own.all(AttemptEnded) if event.spent),
    ]


def _counted(spent: Mapping[str, float]) -> dict[str, int]:
    """Return the recorded time by the kinds of this module."""
    found = dict.fromkeys(KINDS, 0)
    for what, secs in spent.items():
        found[_KIND_OF.get(what, "other")] += micros(secs)
    return found


def _steps(spent: Mapping[str, float]) -> int:
    return sum(micros(secs) for what, secs in spent.items() if _KIND_OF.get(what) == STEPS)


def _fitted(found: dict[str, int], width: int) -> dict[str, int]:
    """Return the parts, corrected so that they sum to the time on the wall clock.

    The clock may have been set, or the machine may have slept. Extra wall time counts as `other`;
    missing time is subtracted from the steps first.
    """
    excess = sum(found.values()) - width
    found["other"] += max(0, -excess)
    for kind in KINDS:
        less = min(max(excess, 0), found[kind])
        found[kind] -= less
        excess -= less
    return found


def _end_of_training(own: AttemptEvents, end: int) -> int:
    """Return when the last step ended.

    Waiting for the last save before a stop is not training, nor is the export after the end.
    """
    begun = own.last(TrainingStarted)
    since = (
        0 if begun is None else micros(begun.time)
    )  # a program may train again after it has recorded the end of training
    known = [
        micros(event.time) for kind in (Finished, Failed, AttemptEnded) for event in own.all(kind)
    ]
    known += [micros(event.time - event.secs) for event in own.all(RunPreempted)]
    return min([end, *(each for each in known if each >= since)])


def _restoring(own: AttemptEvents, after: int, until: int) -> int:
    return sum(
        micros(event.secs) for event in own.all(Restored) if after < micros(event.time) <= until
    )


def _stalls(own: AttemptEvents, after: int) -> int:
    """Return how long training stood still for saves after a moment.

    That is the time of the snapshots. The time to write counts too for saves in the foreground, and
    for the last save, because the end of training waits for it.
    """
    saves = [event for event in own.all(Saved) if event.time * 1e6 > after]
    written = (
        saves
        if own.first(ForegroundSaves) is not None
        else [event for event in saves if event.final]
    )
    return micros(
        sum(event.snapshot_secs for event in saves) + sum(event.write_secs for event in written)
    )


def _clamped(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _interpolated(before: tuple[int, int], after: tuple[int, int], time: int) -> int:
    """Return the value at a time between two moments, each with its value."""
    (x0, y0), (x1, y1) = before, after
    if not x0 < time < x1 or y0 >= y1:
        return y0 if time <= x0 else y1
    return y0 + (y1 - y0) * (time - x0) // (x1 - x0)
