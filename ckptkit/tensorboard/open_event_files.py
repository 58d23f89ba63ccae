"""Which process may still write an event file, as far as this machine knows.

TensorFlow's writers take no lock, so this is found out from names and open files.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import psutil

from ckptkit.report.running_processes import SURE_SECS, runs
from ckptkit.tensorboard.stale_points import WriterAttempt


class OpenFiles:
    """The event files that processes of this machine may write now; each look is made once."""

    def holder(self, path: Path, by: Sequence[WriterAttempt]) -> str | None:
        """Return which process may still write a file, in words, or None if there is none.

        A process of another machine cannot be asked; the run's lock says that it has ended. In
        containers another process may have our host and number. So a file that was written since
        this process began, and that it has not open, is left to the other one. An exception: this
        process has made an earlier attempt, whose files it may have closed.

        Args:
            path: the file.
            by: the attempts whose process its name has.
        """
        for writer in by:
            if writer.host != socket.gethostname():
                continue
            if writer.pid != os.getpid():
                if runs(writer.pid, writer.started):
                    return f"process {writer.pid}, which writes it, is still there"
            elif os.path.realpath(path) in self._here:
                return "this process has it open"
            elif self._is_anothers(path, by):
                return (
                    "it was written after this process began, by another one with the same host "
                    "and number"
                )
        return None

    def _is_anothers(self, path: Path, by: Sequence[WriterAttempt]) -> bool:
        """Whether another process with our host and number has written a file."""
        here = [writer for writer in by if writer.started >= self._began - SURE_SECS]
        return len(here) < 2 and path.lstat().st_mtime > self._began + SURE_SECS

    @cached_property
    def _began(self) -> float:
        """Return when this process began, in seconds since the epoch."""
        try:
            return float(psutil.Process().create_time())
        except psutil.Error:
            return math.inf  # unknown: no file counts as another process's

    @cached_property
    def _here(self) -> frozenset[str]:
        """Return the files that this process has open."""
        try:
            return frozenset(each.path for each in psutil.Process().open_files())
        except psutil.Error:
            return frozenset()
