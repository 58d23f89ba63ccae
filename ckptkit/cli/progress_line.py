"""Shows progress on a terminal if work takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

_AFTER_SECS = 1.0
_EVERY_SECS = 0.1


class ProgressLine:
    """A progress bar that appears after a second.

    Args:
        label: what is being done.
        total_bytes: the size of the work.
        stack: closes the bar.
    """

    def __init__(self, label: str, total_bytes: int, stack: ExitStack) -> None:
        self._label = label
        self._total = total_bytes
        self._stack = stack
        self._began = time.monotonic()
        self._done = 0
        self._bar: Any = None

    def __call__(self, more_bytes: int) -> None:
        self._done += more_bytes
        if self._bar is not None:
            self._bar.update(more_bytes)
        elif (
            time.monotonic() - self._began > _AFTER_SECS
            and sys.stderr is not None
            and sys.stderr.isatty()
        ):
            self._bar = self._stack.enter_context(
                click.progressbar(length=self._total, label=self._label, file=sys.stderr)
            )
            self._bar.update(self._done)


@contextmanager
def progress(label: str, total_bytes: int) -> Iterator[ProgressLine]:
    """Show the progress of work on a known number of bytes.

    Args:
        label: what is being done.
        total_bytes: the size of the work.

    Returns:
        A context manager; call what it gives with the number of further bytes that are done.
    """
    with ExitStack() as stack:
        yield ProgressLine(label, total_bytes, stack)


@contextmanager
def counting(what: str) -> Iterator[Callable[[], None]]:
    """Show the progress of work of unknown size, as a count.

    Args:
        what: the noun that is counted, in the plural.

    Returns:
        A context manager; call what it gives once for each item.
    """
    began, number, shown = time.monotonic(), 0, 0.0

    def advance() -> None:
        nonlocal number, shown
        number += 1
        now = time.monotonic()
        # Not on each call: writing to a terminal takes longer than looking at a small directory.
        if (
            now - max(began + _AFTER_SECS - _EVERY_SECS, shown) > _EVERY_SECS
            and sys.stderr is not None
            and sys.stderr.isatty()
        ):
            shown = now
            click.echo(f"\rlooked at {number:,} {what}", nl=False, err=True)

    try:
        yield advance
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)
