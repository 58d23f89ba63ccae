"""The table of a run's checkpoints: those that are there, and those that were, each with what
became of it. Pure.
"""

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
"""Of what is not there any more. The oldest of them are left out, and that is said."""


@dataclass(frozen=True, kw_only=True)
class FoundCheckpoint:
    """A checkpoint as it was found.

    Args:
        name: which.
        manifest: or None where it cannot be read.
        problem: what is wrong with it, or None.
        place: `checkpoints`, `quarantine` or `aside`.
    """

    name: CheckpointName
    manifest: Manifest | None
    problem: str | None = None
    place: Literal["checkpoints", "quarantine", "aside"] = "checkpoints"


@dataclass
class _Told:
    """What the journal says of a checkpoint."""

    saved: Saved | None = None
    passed_over: PassedOver | None = None
    taken_away: TakenAway | None = None
    rolled_back: RolledBack | None = None
    set_aside: SetAside | None = None


def checkpoint_rows(
    there: Sequence[FoundCheckpoint],
    events: Sequence[Event],
    pins: Mapping[CheckpointName, Pin],
    links: Sequence[ResumeLink],
) -> tuple[tuple[CheckpointRow, ...], int]:
    """Every checkpoint that is known of, oldest first.

    Args:
        there: what was found on disk, also in `quarantine/` and `aside/`.
        events: the journal, in the order of time.
        pins: what is pinned.
        links: which attempts went on from which.

    Returns:
        The rows, and how many of checkpoints that are not there were left out.
    """
    told = {
        name: each
        for text, each in _told(events).items()
        if (name := CheckpointName.parse(text)) is not None
    }
    found = {each.name: each for each in there}
    gone = sorted((name for name in told if name not in found), key=_order)
    left_out = max(0, len(gone) - MOST_ROWS)
    resumed: dict[str, list[int]] = {}
    for link in links:
        resumed.setdefault(link.checkpoint, []).append(link.to_attempt)
    names = sorted([*found, *gone[left_out:]], key=_order)
    return tuple(
        _row(
            name,
            found.get(name),
            told.get(name, _Told()),
            pins.get(name),
            tuple(resumed.get(str(name), ())),
        )
        for name in names
    ), left_out


def _order(name: CheckpointName) -> tuple[int, int]:
    return name.attempt, name.step


def _told(events: Sequence[Event]) -> dict[str, _Told]:
    told: dict[str, _Told] = {}

    def of(name: str) -> _Told:
        return told.setdefault(name, _Told())

    for event in events:
        if isinstance(event, Saved):
            of(event.checkpoint).saved = event
            of(
                event.checkpoint
            ).taken_away = None  # the same name again, after the first was taken away
        elif isinstance(event, PassedOver):
            of(event.checkpoint).passed_over = event
        elif isinstance(event, TakenAway):
            of(event.checkpoint).taken_away = event
        elif isinstance(event, RolledBack):
            for name in event.set_aside:
                of(name).rolled_back = event
        elif isinstance(event, SetAside):
            for each in told.values():
                if each.taken_away is None and each.set_aside is None:
                    each.set_aside = event
    return told


def _row(
    name: CheckpointName,
    found: FoundCheckpoint | None,
    told: _Told,
    pin: Pin | None,
    resumed_by: tuple[int, ...],
) -> CheckpointRow:
    status, words = _status(found, told)
    source: Manifest | Saved | None = (
        found.manifest if found is not None and found.manifest is not None else told.saved
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
    return (
        event.time if event.taken_at is None else event.taken_at
    )  # the first journals told of the commit only


_Status = Literal["good", "damaged", "quarantined", "set_aside", "taken_away", "gone"]


def _status(found: FoundCheckpoint | None, told: _Told) -> tuple[_Status, str]:
    if found is not None and found.place == "checkpoints":
        return ("good", "") if found.problem is None else ("damaged", found.problem)
    if found is not None and found.place == "quarantine":
        return (
            "quarantined",
            told.passed_over.reason
            if told.passed_over is not None
            else "moved to quarantine/; nothing says why",
        )
    if found is not None:
        return "set_aside", _why_aside(told)
    if told.taken_away is not None:
        return "taken_away", told.taken_away.reason
    if told.passed_over is not None:
        return (
            "quarantined",
            f"{told.passed_over.reason} It is not in {told.passed_over.moved_to} any more.",
        )
    if told.rolled_back is not None or told.set_aside is not None:
        return "set_aside", f"{_why_aside(told)}; it is not there any more"
    return "gone", "not there any more; the journal does not say why"


def _why_aside(told: _Told) -> str:
    if told.rolled_back is not None:
        return f"the run was rolled back to step {told.rolled_back.step}"
    return "an earlier life was set aside" + (
        f" for the fresh start {told.set_aside.label!r}" if told.set_aside is not None else ""
    )
