"""Start of the launcher's threads, none of which the launcher may die or hang without."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ckptkit.log import logger


def start_thread(
    name: str, target: Callable[..., None], *arguments: Any
) -> threading.Thread | None:
    """Start a daemon thread, or log that the system refuses one.

    Args:
        name: shown in stack dumps and in the log.
        target: what the thread runs.
        *arguments: of the target.

    Returns:
        The thread, or None if the system has no further thread for this process.
    """
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # a limit on processes (`ulimit -u`, a control group) is reached
        logger.warning("the launcher works without its thread %s: %s", name, error)
        return None
    return thread
