"""Whether the process of an attempt still runs on this machine."""

from __future__ import annotations

from ckptkit.run.events import AttemptStarted

SURE_SECS = 5.0
"""The possible error of a process's start time.

The kernel counts from the start of the machine, whose time moves when the clock is set.
"""


def attempt_is_running(started: AttemptStarted) -> bool:
    """Return whether the process of an attempt still runs."""
    return process_is_running(started.pid, started.time)


def process_is_running(pid: int, since: float) -> bool:
    """Return whether a process runs that existed at a given moment.

    A zombie, which has ended and whose exit code was not collected, does not count. Neither does a
    later process with the same number.

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
