"""The `attempt_started` event: what the journal records about a new process."""

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
from ckptkit.session import process_state


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
    """Return when this process began, in seconds since the epoch, if that time belongs to the run.

    It does if the process has opened no run before, and runs a program, not typed commands.
    Also None if the system cannot say, as in a sandbox that shows another system's `/proc`.
    """
    first, known = (
        not process_state.state.has_opened,
        hasattr(sys.modules.get("__main__"), "__file__"),
    )
    process_state.state.has_opened = True
    try:
        return psutil.Process().create_time() + _boot_clock_error() if first and known else None
    except psutil.Error as error:
        logger.debug("the start time of this process is unknown: %s", error)
        return None


def _boot_clock_error() -> float:
    """Return by how many seconds the kernel's time of the boot is wrong now.

    The kernel counts a process's start from the boot, and says when that was in whole seconds, by
    the clock of that moment. A clock that was set since then would let an attempt begin before the
    one that it follows has ended: 0.9 s was seen on a virtual machine.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0  # not Linux
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted - float(psutil.boot_time())


def _scheduler() -> dict[str, str]:
    """Return Slurm's numbers of this job, which show how often it was restarted."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}
