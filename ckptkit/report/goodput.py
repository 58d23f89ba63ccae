"""Goodput: the share of a run's wall time that went into steps that count.

The definitions are those of Google's ml-goodput-measurement: productive training time / (last end -
first start), including the gaps between attempts. Of a save, only the time for which training stood
still counts as lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckptkit.report.attempt_ledger import Attempt, Ledger
from ckptkit.report.clamp_time import micros, secs
from ckptkit.report.wall_time_split import STEPS, split_wall_time

KINDS: Mapping[str, str] = {
    "initialisation": "from the start of the program until it opened the run",
    "training_preparation": "from opening the run to its first step, except the parts below",
    "program_startup": "tracing and compiling",
    "data_loading": "waiting for data, if that was measured",
    "checkpoint_save": "training stood still for saves",
    "checkpoint_restore": "reading and assigning checkpoints",
    "wasted_progress": "steps that were lost and done again",
    "infrastructure_recovery": "from an interruption to the next start",
    "idle": "from a planned end to the next start",
    "other": "everything else, such as exports after the end",
}
"""The kinds of lost time, by their name in `--json`, with their meaning in words.

They are listed in this order.
"""


@dataclass(frozen=True, kw_only=True)
class Goodput:
    """The wall time of a run's current life, and where it went.

    Args:
        start: the start of the first attempt, in seconds since the epoch; the start of its program
            if known.
        end: the end of the last attempt: now if it still trains, its last sign of life if it was
            lost.
        wall_secs: the difference; all parts sum to it.
        productive_secs: the time of steps that count, with the evaluations and callbacks between
            them.
        badput_secs: the lost time by the kinds in `KINDS`, all of which are present.
    """

    start: float
    end: float
    wall_secs: float
    productive_secs: float
    badput_secs: Mapping[str, float]

    @property
    def ratio(self) -> float | None:
        """Productive time divided by wall time, from 0 to 1; None if no time has passed."""
        return self.productive_secs / self.wall_secs if self.wall_secs > 0 else None


def goodput_of(ledger: Ledger) -> Goodput | None:
    """Return where the wall time of a run's current life went, or None without an attempt.

    Gaps between attempts are included. Time that two attempts share counts once. It belongs to the
    later one, for example if a run is taken over from a machine that was cut off. If a clock went
    backwards, it belongs to the earlier one.
    """
    attempts = ledger.this_life
    if not attempts:
        return None
    lost = dict.fromkeys(KINDS, 0)
    productive = 0
    first = cursor = micros(attempts[0].began)
    for number, attempt in enumerate(attempts):
        began, start = max(micros(attempt.began), cursor), max(micros(attempt.start), cursor)
        if number:
            lost["idle" if attempts[number - 1].wanted else "infrastructure_recovery"] += (
                began - cursor
            )
        lost["initialisation"] += start - began
        following = micros(attempts[number + 1].start) if number + 1 < len(attempts) else None
        cursor = _end(attempt, start, following, micros(ledger.now))
        steps, wasted = _count(attempt, start, cursor, lost)
        productive += steps - wasted
        lost["wasted_progress"] += wasted
    return Goodput(
        start=secs(first),
        end=secs(cursor),
        wall_secs=secs(cursor - first),
        productive_secs=secs(productive),
        badput_secs={kind: secs(part) for kind, part in lost.items()},
    )


def _end(attempt: Attempt, start: int, following: int | None, now: int) -> int:
    """Return when the counted time of an attempt ends, in microseconds."""
    end = max(start, now if attempt.goes_on else micros(attempt.last_moment))
    if following is not None and start < following < end:
        return following
    return end


def _count(attempt: Attempt, start: int, end: int, lost: dict[str, int]) -> tuple[int, int]:
    """Add the lost time of an attempt to `lost`, without the time of its steps.

    Returns:
        The time of all its steps, and the time of its lost and repeated steps, in microseconds.
    """
    trained = next(
        (
            each.since if each.trained_at is None else each.trained_at
            for each in attempt.stretches
            if each.has_trained
        ),
        None,
    )
    parts = split_wall_time(
        attempt.own,
        start,
        end,
        trained=None if trained is None else micros(trained),
        hung=None if attempt.hung_at is None else micros(attempt.hung_at),
    )
    for kind, part in parts.micros.items():
        if kind != STEPS:
            lost[kind] += part
    wasted = 0
    for number, stretch in enumerate(attempt.stretches):
        last = number + 1 == len(attempt.stretches)
        over = end if last else micros(attempt.stretches[number + 1].since)
        if stretch.kept < stretch.last or (last and attempt.outcome == "dead"):
            wasted += max(0, parts.at(over) - parts.at(micros(stretch.at(stretch.kept))))
    return parts.micros[STEPS], min(wasted, parts.micros[STEPS])
