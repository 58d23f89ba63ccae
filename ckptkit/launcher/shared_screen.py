"""Keeps lines of two output streams apart that are shown on the same terminal or in the same file.

A progress bar on standard output leaves its line open. Without this, a log line on standard error
would stick to it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import TextIO

_REDRAWS = (b"\n", b"\r", b"\b")
"""How output begins that ends or redraws the open line by itself."""


class SharedScreen:
    """Shows one or several streams; it begins a new line when the stream changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: object | None = None
        self._writes = 0

    def show(self, stream: object, data: bytes, write: Callable[[bytes], None]) -> None:
        """Write the output of a stream, after a line end if another stream left its line open.

        Args:
            stream: identifies the stream.
            data: its output.
            write: writes to the screen.
        """
        with self._lock:
            if self._open not in (None, stream) and not data.startswith(_REDRAWS):
                write(b"\n")
            write(data)
            self._writes += 1
            self._open = None if data.endswith(b"\n") else stream

    def open_line(self) -> Hashable | None:
        """Return what identifies the open line; None if there is none."""
        return None if self._open is None else self._writes


def are_one_screen(one: TextIO | None, other: TextIO | None) -> bool:
    """Return whether two streams go to the same terminal, pipe or file."""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):  # closed, or no file
        return False
