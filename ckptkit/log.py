"""The logger `ckptkit`, and sizes as text."""

from __future__ import annotations

import logging

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


def show_by_default() -> None:
    """Show ckptkit's log lines on standard error, if the program has not set up logging."""
    if logger.handlers or logging.getLogger().handlers or logger.level != logging.NOTSET:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("ckptkit: %(message)s"))
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
