"""Describes one run of a directory tree, as a row for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckptkit.cli.plain_text import count, duration
from ckptkit.cli.run_listing import RunListing
from ckptkit.errors import CheckpointError
from ckptkit.load.directory_tree import disk_usage
from ckptkit.log import size
from ckptkit.policies import rank
from ckptkit.run.manifest import to_number
from ckptkit.run.stored_run import StoredRun, open_run

_MONITORS = ("val_loss", "loss")


@dataclass(frozen=True)
class BestCheckpoint:
    """The checkpoint with the smallest finite `val_loss`, or `loss` if none has a `val_loss`.

    Args:
        metric: `val_loss` or `loss`.
        value: its value.
        step: the step of the checkpoint.
    """

    metric: str
    value: float
    step: int


@dataclass(frozen=True)
class TreeRun:
    """A run in a directory tree.

    Args:
        path: the run directory.
        listing: its listing, or None if the run cannot be read.
        size_bytes: the size of everything in its directory.
        problem: why it cannot be read, or None.
    """

    path: Path
    listing: RunListing | None
    size_bytes: int
    problem: str | None = None

    @property
    def state(self) -> str:
        """The word for what the run does now, as in the listing of a run; or `unreadable`."""
        return "unreadable" if self.listing is None else self.listing.state.name

    @property
    def seen_at(self) -> float | None:
        """The time of its last event or save, in seconds since the epoch; None for neither."""
        if self.listing is None:
            return None
        times = [each.head.saved_at for each in self.listing.checkpoints if each.head is not None]
        last = self.listing.state.last
        return max([*times, *([last.time] if last is not None else [])], default=None)

    @property
    def damaged(self) -> int:
        """The number of its damaged checkpoints."""
        return (
            0
            if self.listing is None
            else sum(each.problem is not None for each in self.listing.checkpoints)
        )

    @property
    def best(self) -> BestCheckpoint | None:
        """The best good checkpoint of the run; None if none has a metric to compare by."""
        good = (
            []
            if self.listing is None
            else [
                each.checkpoint.candidate
                for each in self.listing.checkpoints
                if each.problem is None
            ]
        )
        for metric in _MONITORS:
            if ranked := rank(good, metric, "min"):
                return BestCheckpoint(metric, ranked[0].metrics[metric], ranked[0].step)
        return None

    def as_json(self) -> dict[str, object]:
        """Return the form of a run in `ckptkit list --json` of a tree; see docs/cli.md."""
        listing, best = self.listing, self.best
        step, epoch, batch = self._newest_position()
        return {
            "path": str(self.path),
            "state": self.state,
            "words": self.problem if listing is None else listing.state.words,
            "attempts": None if listing is None else listing.state.attempts,
            "host": None if listing is None else listing.state.host or None,
            "step": step,
            "epoch": epoch,
            "batch": batch,
            "seen_at": self.seen_at,
            "checkpoints": None if listing is None else len(listing.checkpoints),
            "damaged": self.damaged,
            "best": None
            if best is None
            else {"metric": best.metric, "value": to_number(best.value), "step": best.step},
            "size_bytes": self.size_bytes,
            "quarantined": 0 if listing is None else listing.quarantined,
            "set_aside": 0 if listing is None else listing.set_aside,
            "rolled_back": 0 if listing is None else listing.rolled_back,
            "damaged_journal_lines": 0 if listing is None else len(listing.damaged_lines),
        }

    def row(self, name: str, now: float) -> list[str]:
        """Return its row in the table.

        Args:
            name: its path as shown to people.
            now: seconds since the epoch.
        """
        best, step = self.best, self._newest_position()[0]
        return [
            name,
            f"run: {self.state}",
            "" if step is None else str(step),
            "" if self.seen_at is None else duration(now - self.seen_at),
            size(self.size_bytes),
            "" if best is None else f"{best.metric} {best.value:.4g}",
            "" if self.listing is None else self.listing.state.host,
            self._remarks(),
        ]

    def _remarks(self) -> str:
        listing = self.listing
        if listing is None:
            return str(self.problem)
        parts = [
            (self.damaged, "damaged"),
            (listing.quarantined, "in quarantine"),
            (listing.rolled_back, "rolled back"),
        ]
        words = [f"{number:,} {what}" for number, what in parts if number]
        if listing.set_aside:
            words.append(f"{count(listing.set_aside, 'earlier life', 'earlier lives')} aside")
        if listing.damaged_lines:
            words.append(f"{count(len(listing.damaged_lines), 'line')} of the journal unreadable")
        return ", ".join(words)

    def _newest_position(self) -> tuple[int | None, int | None, int | None]:
        """Return step, epoch and batch of the newest good checkpoint."""
        for each in reversed(self.listing.checkpoints if self.listing is not None else ()):
            if each.problem is None and each.head is not None:
                return each.head.step, each.head.epoch, each.head.batch
        return None, None, None


def read_tree_run(path: Path, read_listing: Callable[[StoredRun, str], RunListing]) -> TreeRun:
    """Read one run of a tree; one that cannot be read becomes a row with the reason.

    Args:
        path: the run directory.
        read_listing: reads the listing of an opened run, which it gets with its path.
    """
    try:
        return TreeRun(path, read_listing(open_run(path), str(path)), disk_usage(path))
    except (CheckpointError, OSError) as error:
        # One unreadable run must not hide all others.
        return TreeRun(path, None, disk_usage(path), getattr(error, "strerror", None) or str(error))
