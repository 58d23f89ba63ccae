"""Tracks all processes that a training starts, so that all of them can be ended.

Linux makes an orphan a child of its nearest ancestor that asked for that (`prctl(2)`:
PR_SET_CHILD_SUBREAPER), or of process 1. So even a process that has left the training's session
becomes a child of this process.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECS = 0.05


def adopt_orphans() -> bool:
    """Ask the system to make orphaned descendants children of this process.

    Returns:
        Whether the system can do that.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class ProcessTree:
    """Descendants of this process that were started after this object was made.

    A process is identified by number and time of creation, because the system reuses numbers.
    Earlier descendants are left alone. For example, a batch script that ends with `exec ckptkit
    run` passes its own children to the launcher, such as the `tee` of `exec > >(tee log)`.
    """

    def __init__(self) -> None:
        self._before = frozenset(_descendants(psutil.Process()))
        self._known: set[psutil.Process] = set()

    def note(self) -> None:
        """Remember the current descendants.

        If orphans are not adopted, only a remembered process can be found later.
        """
        others = {*self._before}.union(*map(_descendants, self._before))
        self._known |= {*_descendants(psutil.Process())} - others

    def member(self, pid: int) -> psutil.Process | None:
        """Return the living descendant with this number, or None if there is none."""
        return next((process for process in self.living() if process.pid == pid), None)

    def living(self) -> list[psutil.Process]:
        """Return the running descendants, sorted by process id."""
        self.note()
        self._known = {process for process in self._known if _is_alive(process)}
        return sorted(self._known, key=lambda process: process.pid)

    def sweep(self, patience_secs: float, wait: Callable[[float], None]) -> list[str]:
        """End all descendants: with SIGTERM, and after some time with SIGKILL.

        Args:
            patience_secs: how long they may take after SIGTERM.
            wait: waits for a number of seconds, and collects processes that have ended.

        Returns:
            The name and number of each process that it found.
        """
        ended: dict[psutil.Process, str] = {}
        for number, secs in (("SIGTERM", patience_secs), ("SIGKILL", 5.0)):
            until, asked = time.monotonic() + secs, set[psutil.Process]()
            while left := self.living():
                for process in left:
                    if process not in asked:
                        ended.setdefault(process, _words(process))
                        _send(process, number)
                        asked.add(process)
                if time.monotonic() > until:
                    break
                wait(_LOOK_SECS)
        return list(ended.values())


def send_to_group(leader: int, number: int) -> None:
    """Send a signal to a process group; nothing happens if it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _descendants(process: psutil.Process) -> Iterable[psutil.Process]:
    try:
        return process.children(recursive=True)
    except (psutil.Error, OSError):  # `OSError`: no descriptor is free to read /proc with
        return []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except OSError:  # /proc cannot be read now; to end a process twice does no harm
        return True


def _send(process: psutil.Process, number: str) -> None:
    with suppress(psutil.Error, OSError):
        if number == "SIGKILL":
            process.kill()
        else:
            process.terminate()


def _words(process: psutil.Process) -> str:
    try:
        return f"{process.name()} ({process.pid})"
    except (psutil.Error, OSError):
        return f"process {process.pid}"
