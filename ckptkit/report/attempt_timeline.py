"""Builds the rows of the report's time axis: phases, marks and resume links of attempts. Pure."""

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
"""The most marks in a report.

A run of years has too many saves to look at one by one. Consecutive saves then share a mark.
"""

_SAVED = "saved"
_OVER: tuple[type[Event], ...] = (Finished, RunPreempted, Failed)
"""The events that end training. An export after them is not training."""

Kind = Literal["start_up", "restore", "training", "lost", "ending"]


def resume_links(ledger: Ledger, saved_at: Mapping[str, float]) -> tuple[ResumeLink, ...]:
    """Return a link from each checkpoint to each attempt that resumed from it.

    Args:
        ledger: the attempts.
        saved_at: when each checkpoint was committed, by its name, if known.
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
    links: Sequence[ResumeLink],
    unrecorded: Sequence[Manifest],
    stalls: Sequence[Stalled],
) -> tuple[AttemptRow, ...]:
    """Return one row for each attempt.

    Args:
        ledger: the attempts.
        links: the resume links; a checkpoint with a link never shares its mark.
        unrecorded: the manifests of checkpoints that no journal mentions.
        stalls: the stalls that launchers recorded; each is marked in the attempt that ran at that
            time.
    """
    width = _saves_per_mark(sum(attempt.saves for attempt in ledger.attempts))
    special = {link.checkpoint for link in links}
    made = []
    for attempt, following in zip_longest(ledger.attempts, ledger.attempts[1:]):
        until = math.inf if following is None else following.start
        own = [event for event in stalls if attempt.start <= moment(event.time) < until]
        made.append(
            _row(
                attempt, ledger.now, _marks(_annotations(attempt, unrecorded, own), width, special)
            )
        )
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


def _annotations(
    attempt: Attempt, unrecorded: Sequence[Manifest], stalls: Sequence[Stalled]
) -> list[Annotation]:
    """Return the annotations of an attempt; a fresh start is drawn across all rows instead."""
    annotations = [each for each in attempt.marks if each.kind != "set_aside"]
    annotations += [
        Annotation(
            time=each.saved_at,
            kind=_SAVED,
            step=each.step,
            checkpoint=str(each.name),
            words=f"saved step {each.step}: {each.trigger}; "
            "the process was killed before it recorded this",
        )
        for each in unrecorded
        if each.attempt == attempt.number
    ]
    for event in stalls:
        ended = "; the launcher ended it" if event.ended else ""
        words = f"no progress for {event.secs:.0f} s, while {event.phase}{ended}"
        annotations.append(
            Annotation(time=event.time, kind="stalled", step=event.step, words=words)
        )
    return sorted(annotations, key=lambda each: each.time)


def attempt_phases(attempt: Attempt, ended: float) -> tuple[Phase, ...]:
    """Return the phases of an attempt, in order and without gaps.

    Args:
        attempt: the attempt.
        ended: where its line ends.
    """
    trained = (
        ended if attempt.trained_at is None else _clamped(attempt.trained_at, attempt.began, ended)
    )
    # A program may train again after an end, as in a second `fit`. Only later ends count.
    begun = attempt.own.last(TrainingStarted)
    last = [
        event
        for kind in _OVER
        if (event := attempt.own.last(kind)) is not None
        and (begun is None or event.time >= begun.time)
    ]
    over = min((_clamped(moment(event.time), trained, ended) for event in last), default=ended)
    restored = began = trained
    if attempt.resumed_from is not None:
        restored = _clamped(attempt.resumed_from.time, attempt.began, trained)
        began = max(attempt.began, restored - attempt.resumed_from.secs)
    spans: list[tuple[Kind, float, float]] = [
        ("start_up", attempt.began, began),
        ("restore", began, restored),
        ("start_up", restored, trained),
    ]
    stretches = [stretch for stretch in attempt.stretches if stretch.has_trained]
    for stretch, following in zip_longest(stretches, stretches[1:]):
        since = _clamped(spans[-1][2], trained, over)
        until = over if following is None else _clamped(following.since, since, over)
        lost = stretch.kept < stretch.last or (following is None and attempt.outcome == "dead")
        kept = _clamped(stretch.at(stretch.kept), since, until) if lost else until
        spans += [("training", since, kept), ("lost", kept, until)]
    spans.append(("ending", spans[-1][2], ended))
    return tuple(
        Phase(kind=kind, began=since, ended=until) for kind, since, until in spans if until > since
    )


def _clamped(moment: float, low: float, high: float) -> float:
    return min(max(moment, low), high)


def _saves_per_mark(saves: int) -> int:
    """Return how many consecutive saves one mark stands for."""
    return 1 + saves // MOST_MARKS


def _marks(
    annotations: Sequence[Annotation], width: int, special: set[str]
) -> tuple[DrawnMark, ...]:
    """Return the marks of an attempt; up to `width` consecutive plain saves share one."""
    marks: list[DrawnMark] = []
    group: list[Annotation] = []

    def close_group() -> None:
        if len(group) == 1:
            marks.append(_mark(group[0]))
        elif group:
            marks.append(_combined_mark(group))
        group.clear()

    for each in annotations:
        plain = each.kind == _SAVED and each.checkpoint not in special
        if not plain or len(group) == width:
            close_group()
        if plain:
            group.append(each)
        else:
            marks.append(_mark(each))
    close_group()
    return tuple(marks)


def _mark(mark: Annotation) -> DrawnMark:
    return DrawnMark(
        kind=mark.kind,
        at=moment(mark.time),
        words=mark.words,
        step=mark.step,
        checkpoint=mark.checkpoint,
    )


def _combined_mark(group: Sequence[Annotation]) -> DrawnMark:
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
