"""Whether the process of an attempt still runs on this machine."""

from __future__ import annotations

from ckptkit.run.events import AttemptStarted

SURE_SECS = 5.0
"""By so much the kernel's word on when a process was started may be wrong: it counts from a start
of the machine that follows the clock.
"""


def attempt_is_running(started: AttemptStarted) -> bool:
    """Whether it does. A process that began after the attempt did has only got the same number."""
    return process_is_running(started.pid, started.time)


def process_is_running(pid: int, since: float) -> bool:
    """Whether a process runs that was there at a moment. One that has ended, and that nobody has
    asked for its code, is gone, too.

    Args:
        pid: its number.
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
