"""Where the time of one attempt went. Pure; in whole microseconds, so that all parts sum to the
whole.

What the process has told of itself (`spent`, in `progressed` and `attempt_ended`) comes first. For
the time after its last word, and for journals of before there was such a word, the other events say
what they can.
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
"""Steps, and the evaluations and callbacks between them, whether they count or were lost."""

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
"""What the words of `spent` count as; all others are something else."""

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
    """Where the time of an attempt went.

    Args:
        micros: microseconds by kind.
        begin, stop: when its steps began, and when they were over; in microseconds, too.
        reports: what it has told of its steps.
    """

    micros: Mapping[str, int]
    begin: int
    stop: int
    reports: Sequence[Progressed | AttemptEnded] = ()

    def at(self, time: int) -> int:
        """How much of `STEPS` was over at a moment, in microseconds: evenly, between what is known
        around it.
        """
        later = self.stop, self.micros[STEPS]
        if time >= later[0]:
            return later[1]
        for report in reversed(self.reports):
            told = (
                _between(self.begin, micros(report.time), self.stop),
                min(_steps(report.spent), self.micros[STEPS]),
            )
            if told[0] <= time:
                return _on_the_way(told, later, time)
            later = told
        return _on_the_way((self.begin, 0), later, time)


def split_wall_time(
    own: AttemptEvents, start: int, end: int, *, trained: int | None, hung: int | None = None
) -> TimeSplit:
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
        found, _between(start, start if trained is None else trained, stop), stop, reports
    )


def stall_micros(own: AttemptEvents) -> int:
    """Microseconds for which training stood still for saves, whenever that was."""
    reports = _reports(own)
    told, at = (
        (_counted(reports[-1].spent)["checkpoint_save"], micros(reports[-1].time))
        if reports
        else (0, -1)
    )
    return (
        told
        + _stalls(own, at)
        + sum(micros(event.secs) for event in own.all(RunPreempted) if micros(event.time) > at)
    )


def _reports(own: AttemptEvents) -> list[Progressed | AttemptEnded]:
    return [
        *(event for event in own.all(Progressed) if event.spent),
        *(event for event in own.all(AttemptEnded) if event.spent),
    ]


def _counted(spent: Mapping[str, float]) -> dict[str, int]:
    """What was spent, by the kinds of here."""
    found = dict.fromkeys(KINDS, 0)
    for what, secs in spent.items():
        found[_KIND_OF.get(what, "other")] += micros(secs)
    return found


def _steps(spent: Mapping[str, float]) -> int:
    return sum(micros(secs) for what, secs in spent.items() if _KIND_OF.get(what) == STEPS)


def _fitted(found: dict[str, int], width: int) -> dict[str, int]:
    """The parts of a time that has this width by the clock on the wall. That one may have been set,
    or the machine may have slept: what it has more is something else, and what it has less is taken
    from the steps first.
    """
    excess = sum(found.values()) - width
    found["other"] += max(0, -excess)
    for kind in KINDS:
        less = min(max(excess, 0), found[kind])
        found[kind] -= less
        excess -= less
    return found


def _end_of_training(own: AttemptEvents, end: int) -> int:
    """When the last step was over: the waiting for the last save before a stop is no step, nor is
    the export after the end.
    """
    begun = own.last(TrainingStarted)
    since = (
        0 if begun is None else micros(begun.time)
    )  # a program may train on after it has come to an end
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
    """For how long training stood still for saves that were told after a moment: for the snapshot;
    for the writing as well where that was done in the foreground, and of the last one, for which
    the end of training waits.
    """
    told = [event for event in own.all(Saved) if event.time * 1e6 > after]
    written = (
        told if own.first(ForegroundSaves) is not None else [event for event in told if event.final]
    )
    return micros(
        sum(event.snapshot_secs for event in told) + sum(event.write_secs for event in written)
    )


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _on_the_way(before: tuple[int, int], after: tuple[int, int], time: int) -> int:
    """Between two moments, each with what was over then."""
    (x0, y0), (x1, y1) = before, after
    if not x0 < time < x1 or y0 >= y1:
        return y0 if time <= x0 else y1
    return y0 + (y1 - y0) * (time - x0) // (x1 - x0)
