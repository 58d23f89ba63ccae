"""Checks whether the process of an attempt still runs on this machine."""

from __future__ import annotations

from ckptkit.run.events import AttemptStarted

SURE_SECS = 5.0
"""The possible error of a process's start time.

The kernel counts from the machine's boot, and the boot time changes whenever the clock is set.
"""


def attempt_is_running(started: AttemptStarted) -> bool:
    """Return whether the process of an attempt still runs."""
    return process_is_running(started.pid, started.time)


def process_is_running(pid: int, since: float) -> bool:
    """Return whether a process runs that existed at a given moment.

    A zombie (ended, but its exit code is not collected yet) does not count. A later process with
    the same number does not count either.

    Args:
        pid: the number of the process.
        since: the moment, in seconds since the epoch.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(
            process.create_time() <= since + SURE_SECS and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, ValueError, OverflowError):
        return False
