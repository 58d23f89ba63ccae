"""Builds the document of a report from a run on disk. Reads only; takes no lock."""

from __future__ import annotations

import os
from collections.abc import Callable

from ckptkit import __version__
from ckptkit.report.attempt_ledger import Ledger
from ckptkit.report.attempt_timeline import attempt_rows, resume_links
from ckptkit.report.checkpoint_table import checkpoint_rows
from ckptkit.report.clamp_time import moment
from ckptkit.report.disk_usage import moved_checkpoints, moved_parts, stored_parts
from ckptkit.report.document import (
    Document,
    ReportHead,
)
from ckptkit.report.goodput import Goodput
from ckptkit.report.inspection import inspect_checkpoints
from ckptkit.report.recorded_settings import configuration, environment
from ckptkit.report.report_summary import interventions, remarks, totals_of, wall_time_of
from ckptkit.run.events import (
    Saved,
    Stalled,
)
from ckptkit.run.journal_reader import JournalView
from ckptkit.run.pins import read_pins
from ckptkit.run.stored_run import StoredRun


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
        progress: is called with the number of bytes that the verification has read since the last
            call.

    Raises:
        StorageError: If the run cannot be read.
    """
    events = view.events
    inspected = inspect_checkpoints(run.checkpoints, full=full, progress=progress)
    recorded = {
        event.checkpoint: moment(event.time) for event in events if isinstance(event, Saved)
    }
    manifests = [each.manifest for each in inspected.found if each.manifest is not None]
    # A process may be killed after a commit and before it records the commit. Then only the
    # manifest describes that checkpoint.
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
        wall_time=wall_time_of(goodput),
        totals=totals_of(ledger, goodput, table, on_disk),
        remarks=remarks(view, inspected.verification, aside, left_out),
        attempts=attempt_rows(
            ledger, known, unrecorded, [event for event in events if isinstance(event, Stalled)]
        ),
        links=known,
        interventions=interventions(events),
        checkpoints=table,
        environment=environment(ledger.attempts),
        configuration=configuration(manifests[-1] if manifests else None, events),
        verification=inspected.verification,
        disk=on_disk,
        moved=aside,
    )
