"""What `list` tells of one run: its state, and its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptkit.cli.console import coloured
from ckptkit.cli.plain_text import ago, count, duration, metrics, plain
from ckptkit.cli.run_arguments import (
    SeenCheckpoint,
    checkpoints_of,
    lives_aside,
    quarantined,
    rolled_back,
)
from ckptkit.cli.run_state import TELLING, RunState, run_state
from ckptkit.cli.text_table import table
from ckptkit.layout import CheckpointName, expanded
from ckptkit.log import size
from ckptkit.run.journal import JournalView, read_journal
from ckptkit.run.pins import Pin, read_pins
from ckptkit.run.stored_run import StoredRun, is_run
from ckptkit.storage.files import storage_errors

COLOURS = {
    "finished": "green",
    "training": "green",
    "failed": "red",
    "dead": "yellow",
    "unknown": "yellow",
}
"""Of a run's state."""


@dataclass(frozen=True)
class RunListing:
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
    checkpoints: Sequence[SeenCheckpoint]
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
            "last_event": None
            if last is None
            else {"event": last.event, "time": last.time, "attempt": last.attempt},
            "checkpoints": [
                _as_json(seen, self.pins.get(seen.checkpoint.name)) for seen in self.checkpoints
            ],
            "quarantined": self.quarantined,
            "set_aside": self.set_aside,
            "rolled_back": self.rolled_back,
            "damaged_journal_lines": list(self.damaged_lines),
        }

    def lines(self, now: float, most_rows: int | None = None) -> list[str]:
        """It for people, line by line.

        Args:
            now: seconds since the epoch.
            most_rows: of the table, the newest; by default all.
        """
        parts = [f"{plain(self.run)}: {self.state.words}", count(self.state.attempts, "attempt")]
        if self.state.last is not None:
            parts.append(f"last event {self.state.last.event}, {ago(self.state.last.time, now)}")
        lines = [coloured(" | ".join(parts), COLOURS.get(self.state.name, ""))]
        if self.quarantined:
            lines.append(
                f"{count(self.quarantined, 'checkpoint')} in quarantine/: could not be used and "
                "was moved, not deleted"
            )
        if self.set_aside:
            lines.append(
                f"{count(self.set_aside, 'earlier life', 'earlier lives')} in aside/: set aside "
                "for a fresh start, not deleted"
            )
        if self.rolled_back:
            lines.append(
                f"{count(self.rolled_back, 'checkpoint')} in aside/: newer than what the run was "
                "rolled back to, not deleted"
            )
        there = {seen.checkpoint.name for seen in self.checkpoints}
        if lost := [str(name) for name in self.pins if name not in there]:
            lines.append(f"{count(len(lost), 'pin')} of no checkpoint: {', '.join(lost)}")
        if self.damaged_lines:
            lines.append(
                f"{count(len(self.damaged_lines), 'line')} of the journal cannot be read: "
                f"{plain(self.damaged_lines[0])}"
            )
        if not self.checkpoints:
            return [*lines, "no checkpoints"]
        shown = self.checkpoints[-most_rows:] if most_rows is not None else self.checkpoints
        if len(shown) < len(self.checkpoints):
            lines.append(
                f"the newest {len(shown)} of {count(len(self.checkpoints), 'checkpoint')}:"
            )
        bad = [number for number, seen in enumerate(shown) if seen.problem is not None]
        return [
            *lines,
            "",
            *table(
                ["step", "epoch", "age", "size", "metrics", "saved because", "attempt", ""],
                [_row(seen, now, self.pins.get(seen.checkpoint.name)) for seen in shown],
                right=["step", "age", "size", "attempt"],
                red=bad,
            ),
        ]


def is_tree(directory: str) -> bool:
    """Whether a directory is there that is no run.

    Raises:
        StorageError: where that cannot be read.
        ConfigError: where it is no path.
    """
    with storage_errors("read", Path(directory)):
        return not is_run(directory) and expanded(directory).is_dir()


def journal_of(run: StoredRun) -> JournalView:
    """As much of a run's journal as a listing tells.

    Raises:
        StorageError: where it cannot be read.
    """
    return read_journal(run.layout, wanted=TELLING)


def listing_of(
    run: StoredRun, shown: str, now: float, view: JournalView | None = None
) -> RunListing:
    """Looks at a run.

    Args:
        run: which.
        shown: its directory as people are to see it.
        now: seconds since the epoch.
        view: its journal, where it was read already.

    Raises:
        StorageError: where it cannot be read.
    """
    view = journal_of(run) if view is None else view
    return RunListing(
        run=shown,
        state=run_state(view.events, now),
        checkpoints=checkpoints_of(run),
        quarantined=quarantined(run),
        set_aside=lives_aside(run),
        rolled_back=rolled_back(run),
        pins=read_pins(run.layout),
        damaged_lines=view.damaged,
    )


def _row(seen: SeenCheckpoint, now: float, pin: Pin | None) -> list[str]:
    head, checkpoint = seen.head, seen.checkpoint
    words = ["final"] if head is not None and head.final and seen.problem is None else []
    if pin is not None:
        words.append(f"pinned: {pin.note}" if pin.note else "pinned")
    if seen.problem is not None:
        words.append(f"damaged: {seen.problem}")
    said = "; ".join(words)
    if head is None:
        return [str(checkpoint.step), "", "", "", "", "", str(checkpoint.attempt), said]
    return [
        str(head.step),
        f"{head.epoch} + {head.batch}" if head.batch else str(head.epoch),
        duration(now - head.saved_at),
        size(head.size_bytes),
        metrics(checkpoint.metrics, most=2),
        head.trigger,
        str(head.attempt),
        said,
    ]


def _as_json(seen: SeenCheckpoint, pin: Pin | None) -> dict[str, object]:
    checkpoint = seen.checkpoint
    known: dict[str, object] = {
        "name": str(checkpoint.name),
        "path": str(checkpoint.path),
        "step": checkpoint.step,
        "attempt": checkpoint.attempt,
        "problem": seen.problem,
        "pinned": None if pin is None else {"pinned_at": pin.pinned_at, "note": pin.note},
    }
    fields = ("epoch", "batch", "saved_at", "size_bytes", "metrics", "trigger", "final")
    return known | {
        name: None if seen.head is None else getattr(seen.head, name) for name in fields
    }
