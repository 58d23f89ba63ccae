"""The table of all checkpoints that a run has or had, each with its fate. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ckptkit.layout import CheckpointName
from ckptkit.report.checkpoint_rows import CheckpointRow, PinNote
from ckptkit.report.clamp_time import moment
from ckptkit.report.timeline_rows import ResumeLink
from ckptkit.run.events import (
    Event,
    PassedOver,
    RolledBack,
    Saved,
    SetAside,
    TakenAway,
)
from ckptkit.run.manifest import Manifest
from ckptkit.run.pins import Pin

MOST_ROWS = 5_000
"""The most rows for checkpoints that no longer exist.

The oldest ones are left out, and the report says so.
"""


@dataclass(frozen=True, kw_only=True)
class FoundCheckpoint:
    """A checkpoint found on disk.

    Args:
        name: its name.
        manifest: its manifest, or None if that cannot be read.
        problem: what is wrong with it, or None.
        place: `checkpoints`, `quarantine` or `aside`.
    """

    name: CheckpointName
    manifest: Manifest | None
    problem: str | None = None
    place: Literal["checkpoints", "quarantine", "aside"] = "checkpoints"


@dataclass
class _JournalRecord:
    """What the journal says about one checkpoint."""

    saved: Saved | None = None
    passed_over: PassedOver | None = None
    taken_away: TakenAway | None = None
    rolled_back: RolledBack | None = None
    set_aside: SetAside | None = None


def checkpoint_rows(
    found: Sequence[FoundCheckpoint],
    events: Sequence[Event],
    pins: Mapping[CheckpointName, Pin],
    links: Sequence[ResumeLink],
) -> tuple[tuple[CheckpointRow, ...], int]:
    """Return a row for every known checkpoint, oldest first.

    Args:
        found: the checkpoints on disk, including those in `quarantine/` and `aside/`.
        events: the journal, in the order of time.
        pins: the pins.
        links: which attempts resumed from which checkpoint.

    Returns:
        The rows, and how many rows of checkpoints that no longer exist were left out.
    """
    records = {
        name: each
        for text, each in _journal_records(events).items()
        if (name := CheckpointName.parse(text)) is not None
    }
    on_disk = {each.name: each for each in found}
    gone = sorted((name for name in records if name not in on_disk), key=_order)
    left_out = max(0, len(gone) - MOST_ROWS)
    resumed: dict[str, list[int]] = {}
    for link in links:
        resumed.setdefault(link.checkpoint, []).append(link.to_attempt)
    names = sorted([*on_disk, *gone[left_out:]], key=_order)
    return tuple(
        _row(
            name,
            on_disk.get(name),
            records.get(name, _JournalRecord()),
            pins.get(name),
            tuple(resumed.get(str(name), ())),
        )
        for name in names
    ), left_out


def _order(name: CheckpointName) -> tuple[int, int]:
    return name.attempt, name.step


def _journal_records(events: Sequence[Event]) -> dict[str, _JournalRecord]:
    records: dict[str, _JournalRecord] = {}

    def of(name: str) -> _JournalRecord:
        return records.setdefault(name, _JournalRecord())

    for event in events:
        if isinstance(event, Saved):
            of(event.checkpoint).saved = event
            # A name may be used again after its first checkpoint was deleted.
            of(event.checkpoint).taken_away = None
        elif isinstance(event, PassedOver):
            of(event.checkpoint).passed_over = event
        elif isinstance(event, TakenAway):
            of(event.checkpoint).taken_away = event
        elif isinstance(event, RolledBack):
            for name in event.set_aside:
                of(name).rolled_back = event
        elif isinstance(event, SetAside):
            for each in records.values():
                if each.taken_away is None and each.set_aside is None:
                    each.set_aside = event
    return records


def _row(
    name: CheckpointName,
    found: FoundCheckpoint | None,
    records: _JournalRecord,
    pin: Pin | None,
    resumed_by: tuple[int, ...],
) -> CheckpointRow:
    status, words = _status(found, records)
    source: Manifest | Saved | None = (
        found.manifest if found is not None and found.manifest is not None else records.saved
    )
    row = CheckpointRow(
        name=str(name),
        step=name.step,
        attempt=name.attempt,
        status=status,
        words=words,
        is_there=found is not None and found.place == "checkpoints",
        pinned=None if pin is None else PinNote(pinned_at=pin.pinned_at, note=pin.note),
        resumed_by=resumed_by,
    )
    if source is None:
        return row
    saved_at = moment(source.saved_at if isinstance(source, Manifest) else _taken_at(source))
    return replace(
        row,
        final=source.final,
        epoch=source.epoch,
        batch=source.batch,
        size_bytes=source.size_bytes,
        saved_at=saved_at,
        metrics=dict(source.metrics),
        trigger=source.trigger,
    )


def _taken_at(event: Saved) -> float:
    # Journals of the first versions recorded only the commit.
    return event.time if event.taken_at is None else event.taken_at


_Status = Literal["good", "damaged", "quarantined", "set_aside", "taken_away", "gone"]


def _status(found: FoundCheckpoint | None, records: _JournalRecord) -> tuple[_Status, str]:
    if found is not None and found.place == "checkpoints":
        return ("good", "") if found.problem is None else ("damaged", found.problem)
    if found is not None and found.place == "quarantine":
        return (
            "quarantined",
            records.passed_over.reason
            if records.passed_over is not None
            else "moved to quarantine/; no reason was recorded",
        )
    if found is not None:
        return "set_aside", _why_aside(records)
    if records.taken_away is not None:
        return "taken_away", records.taken_away.reason
    if records.passed_over is not None:
        place = records.passed_over.moved_to or "its place"  # empty: it could not be moved
        return "quarantined", f"{records.passed_over.reason} It no longer is in {place}."
    if records.rolled_back is not None or records.set_aside is not None:
        return "set_aside", f"{_why_aside(records)}; it no longer exists"
    return "gone", "no longer exists; the journal has no reason"


def _why_aside(records: _JournalRecord) -> str:
    if records.rolled_back is not None:
        return f"the run was rolled back to step {records.rolled_back.step}"
    return "an earlier life was set aside" + (
        f" for the fresh start {records.set_aside.label!r}" if records.set_aside is not None else ""
    )
