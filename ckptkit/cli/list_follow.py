"""`ckptkit list --follow`: the current list on a terminal, else one line for each change."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from ckptkit.cli.checkpoint_lookup import open_named_run
from ckptkit.cli.console import print_json_line
from ckptkit.cli.list_changes import ListChange, changes_of_run, changes_of_tree
from ckptkit.cli.plain_text import date, plain
from ckptkit.cli.run_listing import RunListing, is_tree, journal_of, listing_of
from ckptkit.cli.run_state import run_state
from ckptkit.cli.terminal import is_terminal
from ckptkit.cli.tree_listing import TreeListing, list_tree
from ckptkit.cli.tree_run import read_tree_run
from ckptkit.layout import RunLayout
from ckptkit.run.events import Event
from ckptkit.run.stored_run import StoredRun

_LOOK_SECS = 1.0
_SHARE = 10
"""The shortest pause between listings, as a multiple of the duration of the last one.

So a large tree on slow storage is not read all the time.
"""


def follow(directory: str, *, as_json: bool) -> None:
    """Print the listing again and again, until Ctrl-C or until the reader of the output is gone.

    Args:
        directory: a run, or any directory.
        as_json: whether to print for programs.

    Raises:
        NoSuchRunError: If the directory does not exist, or no longer exists.
        StorageError: If the directory cannot be read.
    """
    watch = ListWatch(directory)
    if as_json or not is_terminal() or os.environ.get("TERM") == "dumb":
        _print_changes(watch, as_json=as_json)
    else:
        _redraw(watch)


class ListWatch:
    """Lists a run or a tree again and again, but reads only runs that have changed.

    Args:
        directory: the run or tree.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._runs: dict[Path, tuple[object, tuple[Event, ...], RunListing]] = {}

    def look(self, now: float) -> RunListing | TreeListing:
        """Return the current listing.

        Args:
            now: seconds since the epoch.
        """
        if is_tree(self.directory):
            return list_tree(
                self.directory,
                lambda path: read_tree_run(path, lambda run, shown: self._listing(run, shown, now)),
            )
        return self._listing(open_named_run(self.directory), self.directory, now)

    def _listing(self, run: StoredRun, shown: str, now: float) -> RunListing:
        """Return the listing of a run; read again only if one of its files has changed.

        The state is always computed anew, because a process may be killed without writing anything.
        """
        fingerprint = _fingerprint(run.layout)
        known = self._runs.get(run.directory)
        if known is not None and known[0] == fingerprint:
            return replace(known[2], state=run_state(known[1], now))
        view = journal_of(run)
        listing = listing_of(run, shown, now, view)
        self._runs[run.directory] = (fingerprint, view.events, listing)
        return listing


def _fingerprint(layout: RunLayout) -> object:
    """Return a value that changes whenever something in the run is written, removed or moved."""

    def stamp(path: os.DirEntry[str] | Path) -> tuple[str, int, int] | None:
        try:
            found = path.stat() if isinstance(path, Path) else path.stat(follow_symlinks=False)
        except OSError:
            return None
        return path.name, found.st_size, found.st_mtime_ns

    try:
        with os.scandir(layout.journal) as entries:
            journals = sorted(filter(None, map(stamp, entries)))
    except OSError:
        journals = []
    return journals, [
        stamp(each) for each in (layout.checkpoints, layout.pins, layout.quarantine, layout.aside)
    ]


def _print_changes(watch: ListWatch, *, as_json: bool) -> None:
    before: RunListing | TreeListing | None = None
    while True:
        now = time.time()
        after = watch.look(now)
        for change in _changes(before, after):
            if as_json:
                print_json_line(
                    {"time": now, "change": change.change, "path": change.path, **change.values}
                )
            else:
                click.echo(f"{date(now)}  {plain(change.path)}: {change.words}")
        sys.stdout.flush()
        before = after
        _wait(time.time() - now)


def _changes(
    before: RunListing | TreeListing | None, after: RunListing | TreeListing
) -> Iterable[ListChange]:
    if isinstance(after, RunListing):
        return changes_of_run(before if isinstance(before, RunListing) else None, after)
    return changes_of_tree(before if isinstance(before, TreeListing) else None, after)


def _redraw(watch: ListWatch) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for lines, took in _screens(watch):
            live.update(Text.from_ansi("\n".join(lines), no_wrap=True), refresh=True)
            _wait(took)


def _screens(watch: ListWatch) -> Iterator[tuple[list[str], float]]:
    """Yield the lines of each listing, and the seconds that it took.

    The lines are cut to fit on the terminal; the newest rows are kept.
    """
    while True:
        now = time.time()
        found = watch.look(now)
        most = max(2, shutil.get_terminal_size().lines - 2)
        rows = most
        lines = found.lines(now, rows)
        while len(lines) > most and rows > 1:
            rows = max(1, rows - (len(lines) - most))
            lines = found.lines(now, rows)
        yield [*lines[:most], f"{date(now)}, Ctrl-C to end"], time.time() - now


def _wait(took: float) -> None:
    """Wait until the next listing is due.

    Args:
        took: the duration of the last listing, in seconds.

    Raises:
        BrokenPipeError: If the reader of standard output has gone.
    """
    secs = max(_LOOK_SECS, _SHARE * took)
    try:
        reader = select.poll()
        # poll() always reports that the other end of a pipe was closed, even with no event mask.
        # Without this, a quiet `ckptkit list --follow | head` would never end.
        reader.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError, AttributeError):
        time.sleep(secs)
        return
    if reader.poll(1000 * secs):
        raise BrokenPipeError
