"""Lists one run: its state, its checkpoints, and those that were moved away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptkit.cli.checkpoint_lookup import ListedCheckpoint, listed_checkpoints
from ckptkit.cli.console import coloured
from ckptkit.cli.plain_text import ago, count, duration, metrics, plain
from ckptkit.cli.run_state import STATE_EVENTS, RunState, run_state
from ckptkit.cli.text_table import table
from ckptkit.layout import CheckpointName, expanded
from ckptkit.log import size
from ckptkit.run import quarantine
from ckptkit.run.journal_reader import JournalView, read_journal
from ckptkit.run.pins import Pin, read_pins
from ckptkit.run.rollback import is_rolled_back
from ckptkit.run.stored_run import StoredRun, is_run
from ckptkit.storage.files import storage_errors

COLOURS = {
    "finished": "green",
    "training": "green",
    "failed": "red",
    "dead": "yellow",
    "unknown": "yellow",
}
"""The colours of a run's states."""


@dataclass(frozen=True)
class RunListing:
    """What `ckptkit list` shows of one run.

    Args:
        run: the directory, as it was typed.
        state: the run's state, from the journal.
        checkpoints: the checkpoints, oldest first.
        quarantined: the number of checkpoints in `quarantine/`.
        set_aside: the number of earlier lives in `aside/`.
        rolled_back: the number of checkpoints in `aside/` that a rollback moved there.
        pins: all pins, including those of missing checkpoints.
        damaged_lines: the lines of the journal that cannot be read.
    """

    run: str
    state: RunState
    checkpoints: Sequence[ListedCheckpoint]
    quarantined: int
    set_aside: int
    rolled_back: int
    pins: Mapping[CheckpointName, Pin]
    damaged_lines: Sequence[str]

    def as_json(self) -> dict[str, object]:
        """Return the form of `ckptkit list --json`; see docs/cli.md."""
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
        """Return the lines for people.

        Args:
            now: seconds since the epoch.
            most_rows: the number of newest checkpoints to list; by default all.
        """
        parts = [f"{plain(self.run)}: {self.state.words}", count(self.state.attempts, "attempt")]
        if self.state.last is not None:
            parts.append(f"last event {self.state.last.event}, {ago(self.state.last.time, now)}")
        lines = [coloured(" | ".join(parts), COLOURS.get(self.state.name, ""))]
        if self.quarantined:
            lines.append(
                f"{count(self.quarantined, 'checkpoint')} in quarantine/: unusable, moved, not "
                "deleted"
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
            lines.append(f"{count(len(lost), 'pin')} of missing checkpoints: {', '.join(lost)}")
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
    """Return whether a path is a directory but not a run.

    Raises:
        StorageError: If the directory cannot be read.
        ConfigError: If the text is not a path.
    """
    with storage_errors("read", Path(directory)):
        return not is_run(directory) and expanded(directory).is_dir()


def journal_of(run: StoredRun) -> JournalView:
    """Read the events of a run's journal that a listing needs.

    Raises:
        StorageError: If the journal cannot be read.
    """
    return read_journal(run.layout, wanted=STATE_EVENTS)


def listing_of(
    run: StoredRun, shown: str, now: float, view: JournalView | None = None
) -> RunListing:
    """Read from disk what the listing of a run shows.

    Args:
        run: the run.
        shown: its directory as shown to people.
        now: seconds since the epoch.
        view: its journal if it was read already, else None.

    Raises:
        StorageError: If the run cannot be read.
    """
    view = journal_of(run) if view is None else view
    return RunListing(
        run=shown,
        state=run_state(view.events, now),
        checkpoints=listed_checkpoints(run),
        quarantined=_count_quarantined(run),
        set_aside=_count_earlier_lives(run),
        rolled_back=_count_rolled_back(run),
        pins=read_pins(run.layout),
        damaged_lines=view.damaged,
    )


def _row(seen: ListedCheckpoint, now: float, pin: Pin | None) -> list[str]:
    head, checkpoint = seen.head, seen.checkpoint
    words = ["final"] if head is not None and head.final and seen.problem is None else []
    if head is not None and head.not_finite:
        words.append("weights not finite")
    if pin is not None:
        words.append(f"pinned: {pin.note}" if pin.note else "pinned")
    if seen.problem is not None:
        words.append(f"damaged: {seen.problem}")
    remarks = "; ".join(words)
    if head is None:
        return [str(checkpoint.step), "", "", "", "", "", str(checkpoint.attempt), remarks]
    return [
        str(head.step),
        f"{head.epoch} + {head.batch}" if head.batch else str(head.epoch),
        duration(now - head.saved_at),
        size(head.size_bytes),
        metrics(checkpoint.metrics, most=2),
        head.trigger,
        str(head.attempt),
        remarks,
    ]


def _as_json(seen: ListedCheckpoint, pin: Pin | None) -> dict[str, object]:
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


def _count_quarantined(run: StoredRun) -> int:
    return len(quarantine.quarantined(run.layout))


def _count_earlier_lives(run: StoredRun) -> int:
    """Count the earlier lives that a fresh start set aside."""
    names = [name for name in _names(run.layout.aside) if not is_rolled_back(name)]
    # One life leaves several directories there, but only one with its checkpoints. A life without
    # checkpoints still counts as one.
    lives = [name for name in names if name.partition(".")[0] == run.layout.checkpoints.name]
    return len(lives) or min(1, len(names))


def _count_rolled_back(run: StoredRun) -> int:
    """Count the checkpoints that were set aside by a rollback to an older one."""
    return sum(
        len(_names(run.layout.aside / name))
        for name in _names(run.layout.aside)
        if is_rolled_back(name)
    )


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []
