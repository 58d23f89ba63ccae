"""What `list` tells of a directory that is no run: everything that is in it and below, with totals."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ckptkit.cli.console import coloured
from ckptkit.cli.plain_text import count, duration, plain
from ckptkit.cli.run_listing import RunListing
from ckptkit.cli.text_table import table
from ckptkit.errors import CheckpointError
from ckptkit.layout import expanded
from ckptkit.load.directory_tree import PassedBy, TreeEntry, Unreadable, disk_usage, walk
from ckptkit.load.formats import Format
from ckptkit.log import size
from ckptkit.policies import rank
from ckptkit.run.manifest import to_number
from ckptkit.run.stored_run import StoredRun, open_run
from ckptkit.storage.files import storage_errors

_MONITORS = ("val_loss", "loss")
_NUMBERS_SHOWN = 3


@dataclass(frozen=True)
class Best:
    """The checkpoint with the smallest finite `val_loss`, or `loss` where none has that.

    Args:
        metric: which of the two.
        value: of it.
        step: of the checkpoint.
    """

    metric: str
    value: float
    step: int


@dataclass(frozen=True)
class FoundRun:
    """A run in a tree.

    Args:
        path: its directory.
        listing: what is known of it, or None where it cannot be read.
        size_bytes: of all that is in its directory.
        problem: why it cannot be read, or None.
    """

    path: Path
    listing: RunListing | None
    size_bytes: int
    problem: str | None = None

    @property
    def state(self) -> str:
        """As in the listing of a run, or `unreadable`."""
        return "unreadable" if self.listing is None else self.listing.state.name

    @property
    def seen_at(self) -> float | None:
        """When it told or saved something last, in seconds since the epoch."""
        if self.listing is None:
            return None
        times = [seen.head.saved_at for seen in self.listing.checkpoints if seen.head is not None]
        last = self.listing.state.last
        return max([*times, *([last.time] if last is not None else [])], default=None)

    @property
    def damaged(self) -> int:
        """How many of its checkpoints are damaged."""
        return (
            0
            if self.listing is None
            else sum(seen.problem is not None for seen in self.listing.checkpoints)
        )

    @property
    def best(self) -> Best | None:
        """The best of its whole checkpoints."""
        whole = (
            []
            if self.listing is None
            else [
                seen.checkpoint.candidate
                for seen in self.listing.checkpoints
                if seen.problem is None
            ]
        )
        for metric in _MONITORS:
            if ranked := rank(whole, metric, "min"):
                return Best(metric, ranked[0].metrics[metric], ranked[0].step)
        return None

    def as_json(self) -> dict[str, object]:
        """The form of a run in `ckptkit list --json` of a tree; see docs/cli.md."""
        found, best = self.listing, self.best
        newest = _newest(found)
        return {
            "path": str(self.path),
            "state": self.state,
            "words": self.problem if found is None else found.state.words,
            "attempts": None if found is None else found.state.attempts,
            "host": None if found is None else found.state.host or None,
            "step": newest[0],
            "epoch": newest[1],
            "batch": newest[2],
            "seen_at": self.seen_at,
            "checkpoints": None if found is None else len(found.checkpoints),
            "damaged": self.damaged,
            "best": None
            if best is None
            else {"metric": best.metric, "value": to_number(best.value), "step": best.step},
            "size_bytes": self.size_bytes,
            "quarantined": 0 if found is None else found.quarantined,
            "set_aside": 0 if found is None else found.set_aside,
            "rolled_back": 0 if found is None else found.rolled_back,
            "damaged_journal_lines": 0 if found is None else len(found.damaged_lines),
        }

    def row(self, name: str, now: float) -> list[str]:
        """Its row in the table."""
        best, step = self.best, _newest(self.listing)[0]
        return [
            name,
            f"run: {self.state}",
            "" if step is None else str(step),
            _age(self.seen_at, now),
            size(self.size_bytes),
            "" if best is None else f"{best.metric} {best.value:.4g}",
            "" if self.listing is None else self.listing.state.host,
            self._remarks(),
        ]

    def _remarks(self) -> str:
        found = self.listing
        if found is None:
            return str(self.problem)
        parts = [
            (self.damaged, "damaged"),
            (found.quarantined, "in quarantine"),
            (found.rolled_back, "rolled back"),
        ]
        words = [f"{number:,} {what}" for number, what in parts if number]
        if found.set_aside:
            words.append(f"{count(found.set_aside, 'earlier life', 'earlier lives')} aside")
        if found.damaged_lines:
            words.append(f"{count(len(found.damaged_lines), 'line')} of the journal unreadable")
        return ", ".join(words)


@dataclass
class TreeListing:
    """What is in a directory and below.

    Args:
        root: the directory, as it was typed.
        runs: in the order of their paths.
        others: models and weights that are no run's, likewise.
        unreadable: what could not be looked at.
        links: how many links to directories were passed by.
    """

    root: str
    runs: list[FoundRun] = field(default_factory=list)
    others: list[TreeEntry] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    links: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found that could be named."""
        return not self.runs and not self.others

    @property
    def size_bytes(self) -> int:
        """Of everything that was found."""
        return sum(run.size_bytes for run in self.runs) + sum(
            other.size_bytes for other in self.others
        )

    def as_json(self) -> dict[str, object]:
        """The form of `ckptkit list --json` for a directory that is no run; see docs/cli.md."""
        return {
            "tree": self.root,
            "runs": [run.as_json() for run in self.runs],
            "others": [
                {
                    "path": str(other.path),
                    "format": str(other.format),
                    "step": other.step,
                    "size_bytes": other.size_bytes,
                    "modified_at": other.modified_at,
                    "versions": list(other.versions),
                    "problem": other.problem,
                }
                for other in self.others
            ],
            "unreadable": [
                {"path": str(each.path), "reason": each.reason} for each in self.unreadable
            ],
            "links_not_followed": self.links,
            "size_bytes": self.size_bytes,
        }

    def lines(self, now: float, most_rows: int | None = None) -> list[str]:
        """It for people, line by line.

        Args:
            now: seconds since the epoch.
            most_rows: of the table, those that told something last; by default all, in the order of
                their paths.
        """
        found: list[FoundRun | TreeEntry] = sorted(
            [*self.runs, *self.others], key=lambda each: each.path
        )
        hidden = 0 if most_rows is None else max(0, len(found) - most_rows)
        if hidden:
            newest = sorted(found, key=_moment)[hidden:]
            found = [each for each in found if each in newest]
        rows = [
            each.row(self._name(each.path), now)
            if isinstance(each, FoundRun)
            else self._row(each, now)
            for each in found
        ]
        bad = [number for number, each in enumerate(found) if _is_bad(each)]
        lines = (
            table(
                ["path", "what", "step", "age", "size", "best", "host", ""],
                rows,
                right=["step", "age", "size"],
                red=bad,
            )
            if rows
            else []
        )
        if hidden:
            lines.append(f"and {hidden:,} more that told nothing since")
        lines += ["", *self._totals()] if lines else self._totals()
        lines += [
            coloured(f"could not be read: {plain(each.path)} ({plain(each.reason)})", "red")
            for each in self.unreadable
        ]
        return lines

    def _totals(self) -> list[str]:
        states: dict[str, int] = {}
        for run in self.runs:
            states[run.state] = states.get(run.state, 0) + 1
        told = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
        parts = [count(len(self.runs), "run") + (f" ({told})" if told else "")]
        formats: dict[Format, int] = {}
        for other in self.others:
            formats[other.format] = formats.get(other.format, 0) + 1
        parts += [f"{number:,} x {each}" for each, number in sorted(formats.items())]
        lines = [f"{plain(self.root)}: {', '.join(parts)}; {size(self.size_bytes)}"]
        moved = [
            (
                sum(run.listing.quarantined for run in self.runs if run.listing),
                "checkpoint",
                "checkpoints",
                "in quarantine/",
            ),
            (
                sum(run.listing.set_aside for run in self.runs if run.listing),
                "earlier life",
                "earlier lives",
                "in aside/",
            ),
            (
                sum(run.listing.rolled_back for run in self.runs if run.listing),
                "checkpoint",
                "checkpoints",
                "in aside/ by a rollback",
            ),
        ]
        lines += [
            f"{count(number, one, many)} {where}: moved, not deleted"
            for number, one, many, where in moved
            if number
        ]
        if self.links:
            lines.append(f"{count(self.links, 'link')} to directories not followed")
        return lines

    def _row(self, entry: TreeEntry, now: float) -> list[str]:
        numbers = ", ".join(map(str, entry.versions[-_NUMBERS_SHOWN:]))
        remark = entry.problem or (
            f"{count(len(entry.versions), 'version')}: "
            f"{'..., ' if len(entry.versions) > _NUMBERS_SHOWN else ''}{numbers}"
            if entry.versions
            else ""
        )
        return [
            self._name(entry.path),
            str(entry.format),
            "" if entry.step is None else str(entry.step),
            _age(entry.modified_at, now),
            size(entry.size_bytes),
            "",
            "",
            remark,
        ]

    def _name(self, path: Path) -> str:
        """A path as it is seen from the directory that was named."""
        return os.path.relpath(path, expanded(self.root))


def forest_of(
    shown: str, look: Callable[[Path], FoundRun], looked: Callable[[], None] = lambda: None
) -> TreeListing:
    """Walks through a directory.

    Args:
        shown: the directory, as it was typed.
        look: looks at a run in it.
        looked: is called for each directory that was looked at.

    Raises:
        StorageError: where the directory itself cannot be read.
    """
    forest, root = TreeListing(shown), expanded(shown)
    with storage_errors("list", root), suppress(FileNotFoundError):
        next(
            root.iterdir(), None
        )  # one that cannot be read at all is an error, and not an empty one
    for found in walk(root):
        if found is None:
            looked()
        elif isinstance(found, Unreadable):
            forest.unreadable.append(found)
        elif isinstance(found, PassedBy):
            forest.links += 1
        elif found.format is Format.RUN:
            forest.runs.append(look(found.path))
        else:
            forest.others.append(found)
    return forest


def found_run(path: Path, look: Callable[[StoredRun, str], RunListing]) -> FoundRun:
    """Looks at a run in a tree; one that cannot be read is said, and stops nothing."""
    try:
        return FoundRun(path, look(open_run(path), str(path)), disk_usage(path))
    except (CheckpointError, OSError) as error:
        return FoundRun(
            path, None, disk_usage(path), getattr(error, "strerror", None) or str(error)
        )


def _newest(listing: RunListing | None) -> tuple[int | None, int | None, int | None]:
    """Step, epoch and batch of the newest whole checkpoint."""
    for seen in reversed(listing.checkpoints if listing is not None else ()):
        if seen.problem is None and seen.head is not None:
            return seen.head.step, seen.head.epoch, seen.head.batch
    return None, None, None


def _age(moment: float | None, now: float) -> str:
    return "" if moment is None else duration(now - moment)


def _moment(found: FoundRun | TreeEntry) -> float:
    return (found.seen_at or 0.0) if isinstance(found, FoundRun) else found.modified_at


def _is_bad(found: FoundRun | TreeEntry) -> bool:
    if isinstance(found, FoundRun):
        return found.listing is None or found.damaged > 0 or found.state == "failed"
    return found.problem is not None
