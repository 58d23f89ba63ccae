"""Who may be writing an event file now, as far as this machine can tell. No lock says so: TensorFlow's writers take none."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import psutil

from ckptkit.report.running import runs
from ckptkit.tensorboard.orphans import Writer


class OpenFiles:
    """What is open now; look once, and ask while nothing changes."""

    def holder(self, path: Path, by: Sequence[Writer]) -> str | None:
        """Who may write a file now, in words, or None where nobody does.

        Processes of other machines cannot be asked: that those have ended is what the lock of the run says.

        Args:
            path: the file.
            by: the attempts that its name tells of.
        """
        for writer in by:
            if writer.host != socket.gethostname():
                continue
            if writer.pid != os.getpid():
                if runs(writer.pid, writer.started):
                    return f"process {writer.pid}, which writes it, is still there"
            elif os.path.realpath(path) in self._here:
                return "this process has it open"
        return None

    @cached_property
    def _here(self) -> frozenset[str]:
        try:
            return frozenset(each.path for each in psutil.Process().open_files())
        except psutil.Error:
            return frozenset()
