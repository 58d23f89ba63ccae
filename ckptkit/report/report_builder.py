"""Building the document of a report from a run on disk. Reads only; takes no lock."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence

from ckptkit import __version__
from ckptkit.log import size
from ckptkit.report.attempt_ledger import Ledger
from ckptkit.report.attempt_timeline import attempt_rows, resume_links
from ckptkit.report.checkpoint_rows import CheckpointRow, Moved, Stored, Verification
from ckptkit.report.checkpoint_table import MOST_ROWS, checkpoint_rows
from ckptkit.report.clamp_time import moment
from ckptkit.report.disk_usage import moved_checkpoints, moved_parts, stored_parts
from ckptkit.report.document import (
    Document,
    Remark,
    ReportHead,
    TimePart,
    Totals,
    WallTime,
)
from ckptkit.report.goodput import KINDS, Goodput
from ckptkit.report.inspection import inspect_checkpoints
from ckptkit.report.recorded_settings import configuration, environment
from ckptkit.report.timeline_rows import DrawnMark
from ckptkit.run.events import (
    Event,
    ForegroundSaves,
    Inexact,
    RolledBack,
    Saved,
    SetAside,
    SpaceShort,
    Stalled,
)
from ckptkit.run.journal import JournalView
from ckptkit.run.pins import read_pins
from ckptkit.run.stored_run import StoredRun

PRODUCTIVE = "steps that count, with the evaluations and callbacks between them"


def build_document(
    run: StoredRun,
    directory: str,
    view: JournalView,
    ledger: Ledger,
    goodput: Goodput | None,
    *,
    state: str,
    words: str,
    full: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Document:
    """Build everything that a report shows of a run.

    Args:
        run: the run.
        directory: the run directory, as it was named.
        view: the journal.
        ledger: the attempts, by that journal.
        goodput: where the time went; None if nothing has begun.
        state, words: the state of the run, in one word and in a sentence.
        full: whether to verify every byte of every checkpoint.
        progress: is called with the number of bytes that were read for that since the last call.

    Raises:
        StorageError: If the run cannot be read.
    """
    events = view.events
    inspected = inspect_checkpoints(run.checkpoints, full=full, progress=progress)
    recorded = {
        event.checkpoint: moment(event.time) for event in events if isinstance(event, Saved)
    }
    manifests = [each.manifest for each in inspected.found if each.manifest is not None]
    # A process that is killed after a commit and before its line in the journal leaves a checkpoint
    # that only its manifest describes.
    unrecorded = [manifest for manifest in manifests if str(manifest.name) not in recorded]
    known = resume_links(
        ledger,
        recorded | {str(manifest.name): moment(manifest.saved_at) for manifest in unrecorded},
    )
    table, left_out = checkpoint_rows(
        [*moved_checkpoints(run.layout), *inspected.found], events, read_pins(run.layout), known
    )
    on_disk, aside = stored_parts(run.layout), moved_parts(run.layout, events)
    return Document(
        made_at=ledger.now,
        made_by=f"ckptkit {__version__}",
        run=ReportHead(
            name=os.path.basename(os.path.abspath(run.directory)) or "/",
            directory=directory,
            state=state,
            words=words,
            life=ledger.life,
        ),
        wall_time=_wall_time(goodput),
        totals=_totals(ledger, goodput, table, on_disk),
        remarks=_remarks(view, inspected.verification, aside, left_out),
        attempts=attempt_rows(
            ledger, known, unrecorded, [event for event in events if isinstance(event, Stalled)]
        ),
        links=known,
        interventions=_interventions(events),
        checkpoints=table,
        environment=environment(ledger.attempts),
        configuration=configuration(manifests[-1] if manifests else None, events),
        verification=inspected.verification,
        disk=on_disk,
        moved=aside,
    )


def _wall_time(goodput: Goodput | None) -> WallTime:
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


def _totals(
    ledger: Ledger,
    goodput: Goodput | None,
    table: Sequence[CheckpointRow],
    on_disk: Sequence[Stored],
) -> Totals:
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


def _interventions(events: Sequence[Event]) -> tuple[DrawnMark, ...]:
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


def _remarks(
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
        Remark(kind="foreground", words=f"Training stops for as long as a save takes: {reason}")
        for reason in foreground
    ]
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
