"""What work that takes longer than a second shows of itself; on a terminal only."""

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
    """How far the work is.

    Args:
        label: what is done.
        total_bytes: how much there is to do.
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
    """Work on so many bytes.

    Args:
        label: what is done.
        total_bytes: how much there is to do.

    Returns:
        A function that is told how many more bytes are done.
    """
    with ExitStack() as stack:
        yield ProgressLine(label, total_bytes, stack)


@contextmanager
def looking(what: str) -> Iterator[Callable[[], None]]:
    """Work of which nobody knows how much it is.

    Args:
        what: is looked at.

    Returns:
        A function that is called for each of them. After a second, a terminal shows how many there
        were.
    """
    began, number, shown = time.monotonic(), 0, 0.0

    def looked() -> None:
        nonlocal number, shown
        number += 1
        now = time.monotonic()
        if (
            now - max(began + _AFTER_SECS - _EVERY_SECS, shown) > _EVERY_SECS
            and sys.stderr is not None
            and sys.stderr.isatty()
        ):
            shown = now
            click.echo(f"\rlooked at {number:,} {what}", nl=False, err=True)

    try:
        yield looked
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)
