"""Whether the process of an attempt still runs on this machine."""

from __future__ import annotations

from ckptkit.store.events import AttemptStarted


def process_runs(started: AttemptStarted) -> bool:
    """Whether it does. A process that began after the attempt did has only got the same number."""
    import psutil

    try:
        return bool(psutil.Process(started.pid).create_time() <= started.time + 1)
    except (psutil.Error, ValueError, OverflowError):
        return False
