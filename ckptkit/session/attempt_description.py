"""Describes this process, its program and its libraries, for the journal."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import psutil

from ckptkit.log import logger
from ckptkit.run import events
from ckptkit.run.library_versions import versions
from ckptkit.session.process_registry import state


def attempt_started() -> events.AttemptStarted:
    """Describe this process, its program and its libraries."""
    return events.AttemptStarted(
        host=socket.gethostname(),
        pid=os.getpid(),
        program=Path(sys.argv[0]).name,
        versions=versions(),
        scheduler=_scheduler(),
        process_started=_process_started(),
    )


def _process_started() -> float | None:
    """Return when this process began, in seconds since the epoch, or None.

    Returns None if the process has opened a run before, or runs interactive commands: the time
    since its start does not belong to this run then. Also returns None if the system does not know,
    as in a sandbox that shows another system's `/proc`.
    """
    first, known = (
        not state.has_opened,
        hasattr(sys.modules.get("__main__"), "__file__"),
    )
    state.has_opened = True
    try:
        return psutil.Process().create_time() + _boot_clock_error() if first and known else None
    except psutil.Error as error:
        logger.debug("the start time of this process is unknown: %s", error)
        return None


def _boot_clock_error() -> float:
    """Return the error of the kernel's boot time in seconds.

    The kernel counts a process's start from the boot. It gives the boot time in whole seconds, by
    the clock of that moment. If the clock was set since then, an attempt could seem to begin before
    the previous one ended: 0.9 s was seen on a virtual machine.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0  # not Linux
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted - float(psutil.boot_time())


def _scheduler() -> dict[str, str]:
    """Return Slurm's variables of this job, such as its number and how often it was restarted."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}
