"""Lists all runs, models and weights below a directory, with totals."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ckptkit.cli.console import coloured
from ckptkit.cli.plain_text import count, duration, plain
from ckptkit.cli.text_table import table
from ckptkit.cli.tree_run import TreeRun
from ckptkit.layout import expanded
from ckptkit.load.directory_tree import PassedBy, TreeEntry, Unreadable, walk
from ckptkit.load.formats import Format
from ckptkit.log import size
from ckptkit.storage.files import storage_errors

_NUMBERS_SHOWN = 3


@dataclass
class TreeListing:
    """What `ckptkit list` shows of a directory tree.

    Args:
        root: the directory, as it was typed.
        runs: the runs, in the order of their paths.
        others: the models and weights outside of runs, in the order of their paths.
        unreadable: the directories that could not be read.
        links: the number of links to directories that were not followed.
    """

    root: str
    runs: list[TreeRun] = field(default_factory=list)
    others: list[TreeEntry] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    links: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the tree has no run, model or weights."""
        return not self.runs and not self.others

    @property
    def size_bytes(self) -> int:
        """The size of everything in the listing."""
        return sum(run.size_bytes for run in self.runs) + sum(
            other.size_bytes for other in self.others
        )

    def as_json(self) -> dict[str, object]:
        """Return the form of `ckptkit list --json` for a directory tree; see docs/cli.md."""
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
        """Return the lines for people.

        Args:
            now: seconds since the epoch.
            most_rows: the number of most recently active entries to list; by default all. They are
                in the order of their paths.
        """
        found: list[TreeRun | TreeEntry] = sorted(
            [*self.runs, *self.others], key=lambda each: each.path
        )
        hidden = 0 if most_rows is None else max(0, len(found) - most_rows)
        if hidden:
            newest = sorted(found, key=_moment)[hidden:]
            found = [each for each in found if each in newest]
        rows = [
            each.row(self._name(each.path), now)
            if isinstance(each, TreeRun)
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
            lines.append(f"and {hidden:,} more that changed earlier")
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
        counts = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
        parts = [count(len(self.runs), "run") + (f" ({counts})" if counts else "")]
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
        """Return a path relative to the root of the tree."""
        return os.path.relpath(path, expanded(self.root))


def list_tree(
    shown: str, read_run: Callable[[Path], TreeRun], visited: Callable[[], None] = lambda: None
) -> TreeListing:
    """Walk through a directory tree and list it.

    Args:
        shown: the directory, as it was typed.
        read_run: reads a run in it.
        visited: is called for each directory that was visited.

    Raises:
        StorageError: If the directory itself cannot be read.
    """
    listing, root = TreeListing(shown), expanded(shown)
    with storage_errors("list", root), suppress(FileNotFoundError):
        # The walk reports an unreadable directory as an entry. For the root that is an error.
        next(root.iterdir(), None)
    for found in walk(root):
        if found is None:
            visited()
        elif isinstance(found, Unreadable):
            listing.unreadable.append(found)
        elif isinstance(found, PassedBy):
            listing.links += 1
        elif found.format is Format.RUN:
            listing.runs.append(read_run(found.path))
        else:
            listing.others.append(found)
    return listing


def _age(moment: float | None, now: float) -> str:
    return "" if moment is None else duration(now - moment)


def _moment(found: TreeRun | TreeEntry) -> float:
    return (found.seen_at or 0.0) if isinstance(found, TreeRun) else found.modified_at


def _is_bad(found: TreeRun | TreeEntry) -> bool:
    if isinstance(found, TreeRun):
        return found.listing is None or found.damaged > 0 or found.state == "failed"
    return found.problem is not None
