"""All processes that a training has started, also those that have left its session: none of them
outlives it.

Linux gives orphans to the nearest ancestor that asked for them (`prctl(2)`:
PR_SET_CHILD_SUBREAPER), or to number 1. So whatever a training leaves behind is this process's
child, however it was started.
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
    """From now on, orphans among this process's descendants become its children.

    Returns:
        Whether the system can do that.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class ProcessTree:
    """Descendants of this process since it was made, known by number and time of creation: a number
    that was given to another one is not theirs.

    Whoever is there before is somebody else's, and is left alone: a batch script that ends with
    `exec ckptkit run` hands on what it has started itself, such as the `tee` of `exec > >(tee
    log)`.
    """

    def __init__(self) -> None:
        self._before = frozenset(_descendants(psutil.Process()))
        self._known: set[psutil.Process] = set()

    def note(self) -> None:
        """Remembers who is there now; where orphans are not adopted, only those that were noted can
        be found later.
        """
        others = {*self._before}.union(*map(_descendants, self._before))
        self._known |= {*_descendants(psutil.Process())} - others

    def member(self, pid: int) -> psutil.Process | None:
        """The living descendant of this number; None where it is somebody else's process, or
        nobody's.
        """
        return next((process for process in self.living() if process.pid == pid), None)

    def living(self) -> list[psutil.Process]:
        """Who is left, oldest first."""
        self.note()
        self._known = {process for process in self._known if _lives(process)}
        return sorted(self._known, key=lambda process: process.pid)

    def sweep(self, patience_secs: float, wait: Callable[[float], None]) -> list[str]:
        """Ends whoever is left: asks first, and after some time does not ask.

        Args:
            patience_secs: how long they may take.
            wait: lets time pass, and takes the dead off the system's table.

        Returns:
            Who was there, in words.
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
    """Sends a signal to a process group; one that is gone is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _descendants(process: psutil.Process) -> Iterable[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: str) -> None:
    with suppress(psutil.Error):
        if number == "SIGKILL":
            process.kill()
        else:
            process.terminate()


def _words(process: psutil.Process) -> str:
    try:
        return f"{process.name()} ({process.pid})"
    except psutil.Error:
        return f"process {process.pid}"
