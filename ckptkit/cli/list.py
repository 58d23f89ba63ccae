"""`ckptkit list RUN`: the checkpoints of a run, and what state it is in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from ckptkit.cli.output import json_option, print_json, print_line, print_table
from ckptkit.cli.runs import Seen, checkpoints_of, lives_aside, opened, quarantined, rolled_back, run_argument
from ckptkit.cli.state import RunState, run_state
from ckptkit.cli.text import ago, count, duration, metrics, plain
from ckptkit.log import size
from ckptkit.store.layout import CheckpointName
from ckptkit.store.pins import Pin, read_pins

_COLOUR = {"finished": "green", "training": "green", "failed": "red", "dead": "yellow", "unknown": "yellow"}


@click.command("list", short_help="List the checkpoints of a run, and say what state it is in.")
@run_argument
@json_option
def command(run: str, as_json: bool) -> None:
    """List the checkpoints of RUN, oldest first, and say what state the run is in.

    A checkpoint whose manifest cannot be read, or with a file that is missing or of another size, is listed with what is wrong.
    """
    found = opened(run)
    view = found.journal_view
    now = time.time()
    listing = Listing(
        run=run, state=run_state(view.events, now), checkpoints=checkpoints_of(found), quarantined=quarantined(found), set_aside=lives_aside(found),
        rolled_back=rolled_back(found), pins=read_pins(found.layout), damaged_lines=view.damaged)
    if as_json:
        print_json(listing.as_json())
    else:
        listing.show(now)


@dataclass(frozen=True)
class Listing:
    """What `list` tells of a run.

    Args:
        run: the directory, as it was typed.
        state: from the journal.
        checkpoints: oldest first.
        quarantined: checkpoints in `quarantine/`.
        set_aside: earlier lives in `aside/`.
        rolled_back: checkpoints in `aside/` that were newer than what the run was rolled back to.
        pins: what is pinned, whether it is there or not.
        damaged_lines: lines of the journal that cannot be read.
    """

    run: str
    state: RunState
    checkpoints: Sequence[Seen]
    quarantined: int
    set_aside: int
    rolled_back: int
    pins: Mapping[CheckpointName, Pin]
    damaged_lines: Sequence[str]

    def as_json(self) -> dict[str, object]:
        """The form of `ckptkit list --json`; see docs/cli.md."""
        last = self.state.last
        return {
            "run": self.run,
            "state": self.state.name,
            "words": self.state.words,
            "attempts": self.state.attempts,
            "last_event": None if last is None else {"event": last.event, "time": last.time, "attempt": last.attempt},
            "checkpoints": [_as_json(seen, self.pins.get(seen.checkpoint.name)) for seen in self.checkpoints],
            "quarantined": self.quarantined,
            "set_aside": self.set_aside,
            "rolled_back": self.rolled_back,
            "damaged_journal_lines": list(self.damaged_lines),
        }

    def show(self, now: float) -> None:
        """Prints it for people."""
        parts = [f"{plain(self.run)}: {self.state.words}", count(self.state.attempts, "attempt")]
        if self.state.last is not None:
            parts.append(f"last event {self.state.last.event}, {ago(self.state.last.time, now)}")
        print_line(" | ".join(parts), style=_COLOUR.get(self.state.name, ""))
        if self.quarantined:
            print_line(f"{count(self.quarantined, 'checkpoint')} in quarantine/: could not be used and was moved, not deleted")
        if self.set_aside:
            print_line(f"{count(self.set_aside, 'earlier life', 'earlier lives')} in aside/: set aside for a fresh start, not deleted")
        if self.rolled_back:
            print_line(f"{count(self.rolled_back, 'checkpoint')} in aside/: newer than what the run was rolled back to, not deleted")
        there = {seen.checkpoint.name for seen in self.checkpoints}
        if lost := [str(name) for name in self.pins if name not in there]:
            print_line(f"{count(len(lost), 'pin')} of no checkpoint: {', '.join(lost)}")
        if self.damaged_lines:
            print_line(f"{count(len(self.damaged_lines), 'line')} of the journal cannot be read: {plain(self.damaged_lines[0])}")
        if not self.checkpoints:
            print_line("no checkpoints")
            return
        bad = [number for number, seen in enumerate(self.checkpoints) if seen.problem is not None]
        print_line()
        print_table(
            ["step", "epoch", "age", "size", "metrics", "saved because", "attempt", ""],
            [_row(seen, now, self.pins.get(seen.checkpoint.name)) for seen in self.checkpoints], right=["step", "age", "size", "attempt"], red=bad)


def _row(seen: Seen, now: float, pin: Pin | None) -> list[str]:
    manifest, checkpoint = seen.manifest, seen.checkpoint
    words = ["final"] if manifest is not None and manifest.final and seen.problem is None else []
    if pin is not None:
        words.append(f"pinned: {pin.note}" if pin.note else "pinned")
    if seen.problem is not None:
        words.append(f"damaged: {seen.problem}")
    said = "; ".join(words)
    if manifest is None:
        return [str(checkpoint.step), "", "", "", "", "", str(checkpoint.attempt), said]
    return [
        str(manifest.step),
        f"{manifest.epoch} + {manifest.batch}" if manifest.batch else str(manifest.epoch),
        duration(now - manifest.saved_at),
        size(manifest.size_bytes),
        metrics(checkpoint.metrics, most=2),
        manifest.trigger,
        str(manifest.attempt),
        said,
    ]


def _as_json(seen: Seen, pin: Pin | None) -> dict[str, object]:
    checkpoint = seen.checkpoint
    known: dict[str, object] = {"name": str(checkpoint.name), "path": str(checkpoint.path), "step": checkpoint.step,
                                "attempt": checkpoint.attempt, "problem": seen.problem,
                                "pinned": None if pin is None else {"pinned_at": pin.pinned_at, "note": pin.note}}
    fields = ("epoch", "batch", "saved_at", "size_bytes", "metrics", "trigger", "final")
    return known | {name: None if seen.manifest is None else getattr(seen.manifest, name) for name in fields}
