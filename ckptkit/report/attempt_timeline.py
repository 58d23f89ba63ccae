"""From the ledger to what is drawn: what each attempt did for how long, and which checkpoint led on
to which attempt. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Literal

from ckptkit.layout import CheckpointName
from ckptkit.report.attempt_ledger import Attempt, Ledger
from ckptkit.report.clamp_time import moment
from ckptkit.report.event_annotations import Annotation
from ckptkit.report.timeline_rows import AttemptRow, DrawnMark, Phase, ResumeLink
from ckptkit.run.events import (
    Event,
    Failed,
    Finished,
    RunPreempted,
    Stalled,
    TrainingStarted,
)
from ckptkit.run.manifest import Manifest

MOST_MARKS = 5_000
"""Of a report. A run of years has more saves than anybody would look at one by one: neighbours are
then drawn as one mark.
"""

_SAVED = "saved"
_OVER: tuple[type[Event], ...] = (Finished, RunPreempted, Failed)
"""With one of these training is over; what an attempt does after it, as an export, is none."""

Kind = Literal["start_up", "restore", "training", "lost", "ending"]


def resume_links(ledger: Ledger, saved_at: Mapping[str, float]) -> tuple[ResumeLink, ...]:
    """From each checkpoint to the attempts that went on from it.

    Args:
        ledger: the attempts.
        saved_at: when each checkpoint was committed, by its name; as far as that is known.
    """
    found = []
    for attempt in ledger.attempts:
        resumed = attempt.resumed_from
        name = CheckpointName.parse(resumed.checkpoint) if resumed is not None else None
        if resumed is not None and name is not None:
            found.append(
                ResumeLink(
                    checkpoint=resumed.checkpoint,
                    step=resumed.step,
                    from_attempt=name.attempt,
                    saved_at=saved_at.get(resumed.checkpoint),
                    to_attempt=attempt.number,
                    resumed_at=resumed.time,
                )
            )
    return tuple(found)


def attempt_rows(
    ledger: Ledger,
    known: Sequence[ResumeLink],
    untold: Sequence[Manifest],
    stalls: Sequence[Stalled],
) -> tuple[AttemptRow, ...]:
    """One row for each attempt.

    Args:
        ledger: the attempts.
        known: which checkpoint led on to which attempt; such a one has a mark of its own.
        untold: of checkpoints that are there and of which no journal tells.
        stalls: what launchers have told of attempts that did not get on; each is marked in the
            attempt that had begun last.
    """
    width = _width(sum(attempt.saves for attempt in ledger.attempts))
    special = {link.checkpoint for link in known}
    made = []
    for attempt, following in zip_longest(ledger.attempts, ledger.attempts[1:]):
        until = math.inf if following is None else following.start
        own = [event for event in stalls if attempt.start <= moment(event.time) < until]
        made.append(_row(attempt, ledger.now, _drawn(_marks(attempt, untold, own), width, special)))
    return tuple(made)


def _row(attempt: Attempt, now: float, marks: tuple[DrawnMark, ...]) -> AttemptRow:
    ended = max(attempt.began, now if attempt.goes_on else attempt.last_moment)
    return AttemptRow(
        number=attempt.number,
        life=attempt.life,
        host=attempt.host,
        pid=attempt.pid,
        program=attempt.program,
        versions=dict(attempt.versions),
        scheduler=dict(attempt.scheduler),
        began=attempt.began,
        ended=ended,
        is_open=attempt.goes_on,
        outcome=attempt.outcome,
        cause=attempt.cause,
        resumed_from=None if attempt.resumed_from is None else attempt.resumed_from.checkpoint,
        first_step=attempt.first_step,
        last_step=attempt.last_step,
        steps_done=attempt.steps_done,
        steps_lost=attempt.steps_lost,
        steps_redone=attempt.steps_redone,
        saves=attempt.saves,
        saves_dropped=attempt.saves_dropped,
        saves_failed=attempt.saves_failed,
        stall_secs=attempt.stall_secs,
        restore_secs=attempt.restore_secs,
        phases=attempt_phases(attempt, ended),
        marks=marks,
    )


def _marks(
    attempt: Attempt, untold: Sequence[Manifest], stalls: Sequence[Stalled]
) -> list[Annotation]:
    """A fresh start is drawn over all rows, and is nothing of this attempt alone."""
    marks = [mark for mark in attempt.marks if mark.kind != "set_aside"]
    marks += [
        Annotation(
            time=each.saved_at,
            kind=_SAVED,
            step=each.step,
            checkpoint=str(each.name),
            words=f"saved step {each.step}: {each.trigger}; "
            f"the process was gone before its journal could tell",
        )
        for each in untold
        if each.attempt == attempt.number
    ]
    for event in stalls:
        words = f"no progress for {event.secs:.0f} s, while {event.phase}{'; it was ended' if event.ended else ''}"
        marks.append(Annotation(time=event.time, kind="stalled", step=event.step, words=words))
    return sorted(marks, key=lambda mark: mark.time)


def attempt_phases(attempt: Attempt, ended: float) -> tuple[Phase, ...]:
    """What an attempt did, one after the other, from its beginning to its end.

    Args:
        attempt: which.
        ended: where its line ends.
    """
    trained = (
        ended if attempt.trained_at is None else _within(attempt.trained_at, attempt.began, ended)
    )
    begun = attempt.own.last(TrainingStarted)  # a program may train on after it has come to an end
    last = [
        event
        for kind in _OVER
        if (event := attempt.own.last(kind)) is not None
        and (begun is None or event.time >= begun.time)
    ]
    over = min((_within(moment(event.time), trained, ended) for event in last), default=ended)
    restored = began = trained
    if attempt.resumed_from is not None:
        restored = _within(attempt.resumed_from.time, attempt.began, trained)
        began = max(attempt.began, restored - attempt.resumed_from.secs)
    spans: list[tuple[Kind, float, float]] = [
        ("start_up", attempt.began, began),
        ("restore", began, restored),
        ("start_up", restored, trained),
    ]
    stretches = [stretch for stretch in attempt.stretches if stretch.has_trained]
    for stretch, following in zip_longest(stretches, stretches[1:]):
        since = _within(spans[-1][2], trained, over)
        until = over if following is None else _within(following.since, since, over)
        lost = stretch.kept < stretch.last or (following is None and attempt.outcome == "dead")
        kept = _within(stretch.at(stretch.kept), since, until) if lost else until
        spans += [("training", since, kept), ("lost", kept, until)]
    spans.append(("ending", spans[-1][2], ended))
    return tuple(
        Phase(kind=kind, began=since, ended=until) for kind, since, until in spans if until > since
    )


def _within(moment: float, low: float, high: float) -> float:
    return min(max(moment, low), high)


def _width(saves: int) -> int:
    """How many saves in a row one mark stands for."""
    return 1 + saves // MOST_MARKS


def _drawn(marks: Sequence[Annotation], width: int, special: set[str]) -> tuple[DrawnMark, ...]:
    """The marks of an attempt, where `width` plain saves that follow one another are one."""
    drawn: list[DrawnMark] = []
    group: list[Annotation] = []

    def close() -> None:
        drawn.extend([_mark(group[0])] if len(group) == 1 else [_together(group)] if group else [])
        group.clear()

    for mark in marks:
        plain = mark.kind == _SAVED and mark.checkpoint not in special
        if not plain or len(group) == width:
            close()
        if plain:
            group.append(mark)
        else:
            drawn.append(_mark(mark))
    close()
    return tuple(drawn)


def _mark(mark: Annotation) -> DrawnMark:
    return DrawnMark(
        kind=mark.kind,
        at=moment(mark.time),
        words=mark.words,
        step=mark.step,
        checkpoint=mark.checkpoint,
    )


def _together(group: Sequence[Annotation]) -> DrawnMark:
    first, last = group[0], group[-1]
    return DrawnMark(
        kind=last.kind,
        at=moment(first.time),
        until=moment(last.time),
        count=len(group),
        step=last.step,
        checkpoint=last.checkpoint,
        words=f"{len(group):,} saves, from step {first.step} to {last.step}",
    )
