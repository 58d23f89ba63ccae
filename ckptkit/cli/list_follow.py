"""`ckptkit list --follow`: the list as it is now on a terminal, and a line for each change anywhere
else.
"""

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

from ckptkit.cli.console import print_json_line
from ckptkit.cli.list_changes import ListChange, changes_of_run, changes_of_tree
from ckptkit.cli.plain_text import date, plain
from ckptkit.cli.run_arguments import opened
from ckptkit.cli.run_listing import RunListing, is_tree, journal_of, listing_of
from ckptkit.cli.run_state import run_state
from ckptkit.cli.terminal import is_terminal
from ckptkit.cli.tree_listing import TreeListing, forest_of, found_run
from ckptkit.layout import RunLayout
from ckptkit.run.events import Event
from ckptkit.run.stored_run import StoredRun

_LOOK_SECS = 1.0
_SHARE = 10
"""Of what a look took: so long is waited before the next one, at least, so that a large tree on
slow storage is not looked at all the time.
"""


def follow(directory: str, *, as_json: bool) -> None:
    """Looks again and again, until it is interrupted or nobody reads any more.

    Args:
        directory: a run, or any directory.
        as_json: whether for programs.

    Raises:
        NoSuchRunError: where there is no such directory, or no more.
        StorageError: where it cannot be read.
    """
    watch = ListWatch(directory)
    if as_json or not is_terminal() or os.environ.get("TERM") == "dumb":
        _by_line(watch, as_json=as_json)
    else:
        _live(watch)


class ListWatch:
    """Looks at a run, or at a tree, and remembers what has not changed.

    Args:
        directory: which.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._runs: dict[Path, tuple[object, tuple[Event, ...], RunListing]] = {}

    def look(self, now: float) -> RunListing | TreeListing:
        """What is there now."""
        if is_tree(self.directory):
            return forest_of(
                self.directory,
                lambda path: found_run(path, lambda run, shown: self._listing(run, shown, now)),
            )
        return self._listing(opened(self.directory), self.directory, now)

    def _listing(self, run: StoredRun, shown: str, now: float) -> RunListing:
        """A listing; of a run in which nothing was written since, the earlier one, with its state
        of now: a process dies without a word.
        """
        mark = _mark(run.layout)
        known = self._runs.get(run.directory)
        if known is not None and known[0] == mark:
            return replace(known[2], state=run_state(known[1], now))
        view = journal_of(run)
        listing = listing_of(run, shown, now, view)
        self._runs[run.directory] = (mark, view.events, listing)
        return listing


def _mark(layout: RunLayout) -> object:
    """Other than before where something in a run was written, taken away or moved."""

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


def _by_line(watch: ListWatch, *, as_json: bool) -> None:
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


def _live(watch: ListWatch) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for lines, took in _pictures(watch):
            live.update(Text.from_ansi("\n".join(lines), no_wrap=True), refresh=True)
            _wait(took)


def _pictures(watch: ListWatch) -> Iterator[tuple[list[str], float]]:
    """What is to be seen, look by look, with the seconds that it took; no taller than the terminal,
    the newest rows last.
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
    """Waits for the next look.

    Args:
        took: the seconds of the last one.

    Raises:
        BrokenPipeError: as soon as nobody reads standard output any more.
    """
    secs = max(_LOOK_SECS, _SHARE * took)
    try:
        reader = select.poll()
        reader.register(
            sys.stdout.fileno(), 0
        )  # of a pipe, that its other end is closed is told without being asked for
    except (OSError, ValueError, AttributeError):
        time.sleep(secs)
        return
    if reader.poll(1000 * secs):
        raise BrokenPipeError
