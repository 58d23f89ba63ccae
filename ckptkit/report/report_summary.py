"""Summarises a run for its report: totals, wall time, remarks and interventions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ckptkit.log import size
from ckptkit.report.attempt_ledger import Ledger
from ckptkit.report.checkpoint_rows import CheckpointRow, Moved, Stored, Verification
from ckptkit.report.checkpoint_table import MOST_ROWS
from ckptkit.report.clamp_time import moment
from ckptkit.report.document import (
    Remark,
    TimePart,
    Totals,
    WallTime,
)
from ckptkit.report.goodput import KINDS, Goodput
from ckptkit.report.timeline_rows import DrawnMark
from ckptkit.run.events import (
    Event,
    ForegroundSaves,
    Inexact,
    RolledBack,
    SaveDropped,
    SetAside,
    SpaceShort,
)
from ckptkit.run.journal_reader import JournalView

PRODUCTIVE = "steps that count, with the evaluations and callbacks between them"


def wall_time_of(goodput: Goodput | None) -> WallTime:
    """Return the wall time of a run, in parts; empty if the run has no goodput yet."""
    if goodput is None:
        return WallTime(began=None, ended=None, secs=0.0, ratio=None, parts=())
    parts = [TimePart(kind="productive", words=PRODUCTIVE, secs=goodput.productive_secs)]
    parts += [
        TimePart(kind=kind, words=KINDS.get(kind, kind), secs=secs)
        for kind, secs in goodput.badput_secs.items()
    ]
    return WallTime(
        began=goodput.start,
        ended=goodput.end,
        secs=goodput.wall_secs,
        ratio=goodput.ratio,
        parts=tuple(parts),
    )


def totals_of(
    ledger: Ledger,
    goodput: Goodput | None,
    table: Sequence[CheckpointRow],
    on_disk: Sequence[Stored],
) -> Totals:
    """Return the totals of a run since its last fresh start."""
    lives = ledger.this_life
    good = [row.name for row in table if row.status == "good"]
    return Totals(
        attempts=len(lives),
        endings=dict(Counter(attempt.outcome for attempt in lives)),
        newest_good=good[-1] if good else None,
        steps_lost=ledger.steps_lost,
        lost_secs=0.0 if goodput is None else goodput.badput_secs.get("wasted_progress", 0.0),
        saves=sum(attempt.saves for attempt in lives),
        stall_secs=sum(attempt.stall_secs for attempt in lives),
        checkpoints=sum(row.is_there for row in table),
        size_bytes=sum(each.size_bytes for each in on_disk),
    )


def interventions(events: Sequence[Event]) -> tuple[DrawnMark, ...]:
    """Return what was done to the run besides training it."""
    found = []
    for event in events:
        if isinstance(event, RolledBack):
            found.append(
                DrawnMark(
                    kind="rolled_back",
                    at=moment(event.time),
                    step=event.step,
                    checkpoint=event.checkpoint,
                    words=f"rolled back to step {event.step}; {len(event.set_aside)} newer "
                    "checkpoints were set aside",
                )
            )
        elif isinstance(event, SetAside):
            found.append(
                DrawnMark(
                    kind="set_aside",
                    at=moment(event.time),
                    words=f"a fresh start ({event.label}): earlier lives were set aside",
                )
            )
    return tuple(found)


def remarks(
    view: JournalView, verification: Verification, aside: Sequence[Moved], left_out: int
) -> tuple[Remark, ...]:
    """Return what a reader should know before the rest."""
    found = []
    if verification.damaged:
        found.append(
            Remark(
                kind="damaged",
                words=f"Damaged checkpoints: {verification.damaged}. The next start resumes from "
                "the newest good one.",
            )
        )
    inexact = {event.reason: None for event in view.events if isinstance(event, Inexact)}
    found += [
        Remark(kind="inexact", words=f"Not exact bit for bit after an interruption: {reason}")
        for reason in inexact
    ]
    foreground = {event.reason: None for event in view.events if isinstance(event, ForegroundSaves)}
    found += [
        Remark(kind="foreground", words=f"Training stops during each save: {reason}")
        for reason in foreground
    ]
    if dropped := sum(isinstance(event, SaveDropped) for event in view.events):
        found.append(
            Remark(
                kind="dropped",
                words=f"Saves that were not written, most often because a newer one replaced "
                f"them: {dropped}. The timeline marks them.",
            )
        )
    if short := sum(isinstance(event, SpaceShort) for event in view.events):
        found.append(
            Remark(kind="space", words=f"Saves for which the disk had too little room: {short}.")
        )
    if aside:
        total = size(sum(each.size_bytes for each in aside))
        found.append(
            Remark(
                kind="moved",
                words=f"Moved away and not deleted: {len(aside)}, {total} together; see On disk "
                "for the reasons.",
            )
        )
    if view.damaged:
        found.append(
            Remark(
                kind="journal",
                words=f"Unreadable lines of the journal: {len(view.damaged)}. A killed process "
                f"may leave one. {view.damaged[0]}",
            )
        )
    if left_out:
        found.append(
            Remark(
                kind="left_out",
                words=f"The table leaves out {left_out:,} old checkpoints that no longer exist. "
                f"It has the newest {MOST_ROWS:,} of those.",
            )
        )
    return tuple(found)
