"""Completes runs and steps on the command line of a shell.

It runs each time a user presses TAB, so it looks only at names of files, and at few of them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from ckptkit.layout import CheckpointName, run_layout

_DEPTH = 3
"""How many levels below the typed directory are searched for runs."""

_MOST_DIRECTORIES = 500
"""The number of directories that are looked at; a tree of datasets may have millions."""

_MOST_NAMES = 5_000
"""The number of names that are read of one directory; a directory of images may have millions."""


class RunBashComplete(BashComplete):
    """Completion for bash, which handles `RUN@STEP` and paths with blanks."""

    # By default bash ends a word at an @, and would put the whole answer behind it.
    source_template = "COMP_WORDBREAKS=${COMP_WORDBREAKS//@}\n" + BashComplete.source_template

    def format_completion(self, item: CompletionItem) -> str:
        # Bash inserts the answer as it is. Unquoted, a path with a blank would be two arguments.
        home = "~/" if item.value.startswith("~/") else ""  # which bash expands only unquoted
        rest = item.value.removeprefix(home)
        quoted = CompletionItem(home + shlex.quote(rest) if rest else home, type=item.type)
        return super().format_completion(quoted if item.type == "plain" else item)


def register_shells() -> None:
    """Let click use the completion of this module for bash."""
    add_completion_class(RunBashComplete)


def complete_run(
    _context: click.Context, _parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Return the runs whose path begins with the text, and otherwise let the shell complete."""
    if "@" in typed:
        run, _, step = typed.rpartition("@")
        return [CompletionItem(f"{run}@{each}") for each in _choices(run) if each.startswith(step)]
    found = [CompletionItem(run) for run in _runs(typed)]
    # The shell's own completion finds directories that lead to runs, and models outside of runs.
    return found or [CompletionItem(typed, type="file")]


def complete_step(
    context: click.Context, _parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Return the choices of a checkpoint of the run that the command line names already."""
    run = context.params.get("run") or context.params.get("path")
    return [CompletionItem(each) for each in _choices(str(run or "")) if each.startswith(typed)]


def _choices(run: str) -> list[str]:
    steps = {name.step for name in _checkpoints(Path(run))} if run else set()
    return [*(str(step) for step in sorted(steps)), "latest", "best"]


def _checkpoints(run: Path) -> list[CheckpointName]:
    names = _names(run_layout(run.expanduser()).checkpoints)
    return [name for name in map(CheckpointName.parse, names) if name is not None]


def _runs(typed: str) -> list[str]:
    """Return the runs below the typed directory, as the user would type them."""
    head, tail = os.path.split(typed)
    start = Path(head or ".").expanduser()
    waiting = [(start / name, 1) for name in sorted(_names(start)) if name.startswith(tail)]
    return [
        os.path.join(head, os.path.relpath(run, start))
        for run in _walk(waiting)
        if not run.name.startswith(".")
    ]


def _walk(waiting: list[tuple[Path, int]]) -> Iterator[Path]:
    for _ in range(_MOST_DIRECTORIES):
        if not waiting:
            return
        directory, depth = waiting.pop(0)
        if _is_run(directory):
            yield directory
        elif depth < _DEPTH and not directory.is_symlink():
            waiting += [
                (directory / name, depth + 1)
                for name in sorted(_names(directory))
                if not name.startswith(".")
            ]


def _is_run(directory: Path) -> bool:
    names = _names(directory)
    return "journal" in names or ("checkpoints" in names and bool(_checkpoints(directory)))


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in islice(entries, _MOST_NAMES)]
    except OSError:
        return []
