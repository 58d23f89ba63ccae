"""What standard output is: a terminal with colours and a width, or something that programs read."""

from __future__ import annotations

import os
import shutil
import sys

_UNBOUNDED = 100_000
"""Columns of what is no terminal: nothing is cut or folded there, so that `grep` finds whole lines.
"""


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def colours() -> bool:
    """Whether colours are wanted there: on a terminal that has them, and never where NO_COLOR is
    set.
    """
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns of a line."""
    return shutil.get_terminal_size().columns if is_terminal() else _UNBOUNDED
