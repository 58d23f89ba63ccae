"""Who may be writing an event file now, as far as this machine can tell. No lock says so:
TensorFlow's writers take none.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import psutil

from ckptkit.report.running_processes import SURE_SECS, process_is_running
from ckptkit.tensorboard.orphans import EventWriter


class OpenFiles:
    """What is open now; look once, and ask while nothing changes."""

    def holder(self, path: Path, by: Sequence[EventWriter]) -> str | None:
        """Who may write a file now, in words, or None where nobody does.

        Processes of other machines cannot be asked: that those have ended is what the lock of the
        run says. In containers another one may have our host and number. So what was written since
        this process began, and is not open here, is left to it, unless this process has made an
        attempt before, whose files it may have closed.

        Args:
            path: the file.
            by: the attempts that its name tells of.
        """
        for writer in by:
            if writer.host != socket.gethostname():
                continue
            if writer.pid != os.getpid():
                if process_is_running(writer.pid, writer.started):
                    return f"process {writer.pid}, which writes it, is still there"
            elif os.path.realpath(path) in self._here:
                return "this process has it open"
            elif self._is_anothers(path, by):
                return "it was written after this process began, by another one with the same host and number"
        return None

    def _is_anothers(self, path: Path, by: Sequence[EventWriter]) -> bool:
        here = [writer for writer in by if writer.started >= self._began - SURE_SECS]
        return len(here) < 2 and path.lstat().st_mtime > self._began + SURE_SECS

    @cached_property
    def _began(self) -> float:
        try:
            return float(psutil.Process().create_time())
        except psutil.Error:
            return math.inf  # nothing is taken for another's that nobody can tell

    @cached_property
    def _here(self) -> frozenset[str]:
        try:
            return frozenset(each.path for each in psutil.Process().open_files())
        except psutil.Error:
            return frozenset()
