"""Sets up the logger `ckptkit`, and formats sizes for its lines."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Hashable

from ckptkit.printable_text import printable

logger = logging.getLogger("ckptkit")


def _escape(record: logging.LogRecord) -> bool:
    """Escape the control characters in a line, which a terminal would obey; a filter."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # logging itself reports a wrong number of arguments
        return True
    if (shown := printable(text)) != text:
        record.msg, record.args = shown, None
    return True


# On the logger and not on a handler, so that it also holds for the handlers of the program.
logger.addFilter(_escape)


_open_line: Callable[[], Hashable | None] = lambda: None  # noqa: E731


def begin_new_line_after(open_line: Callable[[], Hashable | None]) -> None:
    """Make log lines begin a new line if another one is open on the same terminal or file.

    Args:
        open_line: returns what identifies the open line on standard output; None if there is none.
    """
    global _open_line
    _open_line = open_line


class _OwnLine(logging.Formatter):
    """Puts a line break in front of a log line, if a progress bar has not ended its line.

    The break is a part of the log line, so that both are written at once: the bar may be drawn by
    another thread.
    """

    _broken: Hashable | None = None

    def format(self, record: logging.LogRecord) -> str:
        text, line = super().format(record), _open_line()
        if line is None or line == self._broken or not _on_one_screen():
            return text
        self._broken = line
        return f"\n{text}"


def _on_one_screen() -> bool:
    """Return whether standard output and standard error go to the same terminal, pipe or file."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or no file: a notebook, a test
        return False


def show_by_default() -> None:
    """Show ckptkit's log lines on standard error, if the program has not set up logging."""
    if logger.handlers or logging.getLogger().handlers or logger.level != logging.NOTSET:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_OwnLine("ckptkit: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def size(size_bytes: float) -> str:
    """Return a size as text for people: decimal units, three significant figures.

    Example:
        >>> from ckptkit.log import size
        >>> size(252_000_000)
        '252 MB'
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size_bytes < 999.5 or unit == "TB":
            return f"{size_bytes:.3g} {unit}" if size_bytes < 100 else f"{size_bytes:.0f} {unit}"
        size_bytes /= 1000
    raise AssertionError("unreachable")
