"""Starting threads, and what to do if the system allows no further one."""

from __future__ import annotations

import threading

from ckptkit.errors import CheckpointError
from ckptkit.log import logger


def start_thread(thread: threading.Thread, purpose: str) -> None:
    """Start a thread that a run cannot do without.

    Args:
        thread: the thread, which was not started yet.
        purpose: what it does, as the rest of a sentence that begins with "the thread that".

    Raises:
        CheckpointError: If the system allows no further thread.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise CheckpointError(
            f"Expected to start the thread that {purpose}, and the system allows no further "
            f"thread. Received: {error}. Raise the limit (ulimit -u, or pids.max of the "
            "container), or end what else runs here, and start again."
        ) from error


def try_start_thread(thread: threading.Thread, otherwise: str) -> bool:
    """Start a thread that a run can do without; log a warning if there is no further one.

    Args:
        thread: the thread, which was not started yet.
        otherwise: what happens without it, for the log.

    Returns:
        Whether it was started.
    """
    try:
        thread.start()
    except RuntimeError as error:
        logger.warning("%s: %s", otherwise, error)
        return False
    return True
