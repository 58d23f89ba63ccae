"""A disk that can be held up: what is written waits until it may go on."""

from __future__ import annotations

import threading
from pathlib import Path

from ckptkit.storage.files import FileSystem


class Gate(FileSystem):
    """The real file system, whose directories for new checkpoints cannot be made while the gate is
    closed.
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.waiting = threading.Event()

    def close(self) -> None:
        """Hold up each save before it writes."""
        self.waiting.clear()
        self._open.clear()

    def open(self) -> None:
        """Let what waits continue."""
        self._open.set()

    def make_dir(self, path: Path) -> None:
        if path.name.startswith(".writing"):
            self.waiting.set()
            assert self._open.wait(60)
        super().make_dir(path)
