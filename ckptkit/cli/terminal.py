"""Properties of standard output: whether it is a terminal, its colours and its width."""

from __future__ import annotations

import os
import shutil
import sys

_UNBOUNDED = 100_000
"""The width of output that is not a terminal.

Nothing is cut or folded there, so that `grep` finds whole lines.
"""


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def colours() -> bool:
    """Return whether to print colours: on a terminal that has them, unless NO_COLOR is set."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Return the number of columns of a line."""
    return shutil.get_terminal_size().columns if is_terminal() else _UNBOUNDED
