"""Finds what has changed between two listings of a run or of a directory tree. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ckptkit.cli.checkpoint_lookup import ListedCheckpoint
from ckptkit.cli.plain_text import metrics, plain
from ckptkit.cli.run_listing import RunListing
from ckptkit.cli.tree_listing import TreeListing
from ckptkit.cli.tree_run import TreeRun
from ckptkit.load.directory_tree import TreeEntry
from ckptkit.log import size

_MOVED = {
    "quarantined": "in quarantine/",
    "set_aside": "of earlier lives in aside/",
    "rolled_back": "in aside/ by a rollback",
}


@dataclass(frozen=True)
class ListChange:
    """One change between two listings.

    Args:
        change: `state`, `saved`, `taken_away`, `damaged`, `pinned`, `unpinned`, `moved`, `found` or
            `gone`.
        path: the run, file or directory that changed.
        words: the change in words, for people.
        values: further facts, for programs.
    """

    change: str
    path: str
    words: str
    values: Mapping[str, object] = field(default_factory=dict)


def changes_of_run(before: RunListing | None, after: RunListing) -> Iterator[ListChange]:
    """Yield what changed in a run. For the first listing that is only its state.

    Args:
        before: the previous listing, or None for the first one.
        after: the current listing.
    """
    run = after.run
    if before is None or before.state.words != after.state.words:
        yield ListChange(
            "state", run, after.state.words, {"state": after.state.name, "words": after.state.words}
        )
    if before is None:
        return
    for moved, where in _MOVED.items():
        if (number := getattr(after, moved)) != getattr(before, moved):
            yield ListChange(
                "moved", run, f"{number:,} {where}", {"where": moved, "number": number}
            )
    then, now = (
        {seen.checkpoint.name: seen for seen in listing.checkpoints} for listing in (before, after)
    )
    for name in then:
        if name not in now:
            yield ListChange(
                "taken_away", run, f"{name} is gone", {"name": str(name), "step": name.step}
            )
    for name, seen in now.items():
        if name not in then:
            yield _saved(run, seen)
        if seen.problem is not None and (name not in then or then[name].problem is None):
            yield ListChange(
                "damaged",
                run,
                f"{name} is damaged: {plain(seen.problem)}",
                {"name": str(name), "step": name.step, "problem": seen.problem},
            )
    for name in before.pins.keys() ^ after.pins.keys():
        what = "pinned" if name in after.pins else "unpinned"
        yield ListChange(what, run, f"{what} {name}", {"name": str(name), "step": name.step})


def _saved(run: str, seen: ListedCheckpoint) -> ListChange:
    name, head = seen.checkpoint.name, seen.head
    values: dict[str, object] = {"name": str(name), "step": name.step}
    if head is None:
        return ListChange("saved", run, f"{name}", values)
    facts = "  ".join(
        filter(None, (size(head.size_bytes), metrics(seen.checkpoint.metrics, most=2)))
    )
    return ListChange(
        "saved",
        run,
        f"{name} ({plain(head.trigger)})  {facts}",
        values | {"size_bytes": head.size_bytes, "metrics": head.metrics, "final": head.final},
    )


def changes_of_tree(before: TreeListing | None, after: TreeListing) -> Iterator[ListChange]:
    """Yield what changed in a tree. For the first listing that is every entry, one line each.

    Args:
        before: the previous listing, or None for the first one.
        after: the current listing.
    """
    runs = {run.path: run for run in before.runs} if before is not None else {}
    others = {other.path: other for other in before.others} if before is not None else {}
    for path in runs.keys() - {run.path for run in after.runs}:
        yield ListChange("gone", str(path), "the run is gone")
    for path in others.keys() - {other.path for other in after.others}:
        yield ListChange(
            "gone",
            str(path),
            f"the {others[path].format} is gone",
            {"format": str(others[path].format)},
        )
    for run in after.runs:
        yield from _changes_of(runs.get(run.path), run)
    for other in after.others:
        yield from _changes_of_file(others.get(other.path), other)


def _changes_of(before: TreeRun | None, after: TreeRun) -> Iterator[ListChange]:
    if after.listing is not None:
        yield from changes_of_run(before.listing if before is not None else None, after.listing)
    elif before is None or before.problem != after.problem:
        yield ListChange(
            "state",
            str(after.path),
            f"cannot be read: {plain(after.problem)}",
            {"state": "unreadable", "words": after.problem},
        )


def _changes_of_file(before: TreeEntry | None, after: TreeEntry) -> Iterator[ListChange]:
    if before == after:
        return
    problem = f": {plain(after.problem)}" if after.problem else ""
    words = f"{after.format}, {size(after.size_bytes)}{problem}"
    yield ListChange(
        "found",
        str(after.path),
        words if before is None else f"{words}, written again",
        {
            "format": str(after.format),
            "step": after.step,
            "size_bytes": after.size_bytes,
            "problem": after.problem,
        },
    )
