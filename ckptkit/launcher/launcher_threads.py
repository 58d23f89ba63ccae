"""Starts threads that the launcher can work without."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from ckptkit.errors import ThreadRefusedError
from ckptkit.log import logger
from ckptkit.threads import start_thread


def start_or_warn(
    name: str, target: Callable[..., None], *arguments: Any
) -> threading.Thread | None:
    """Start a daemon thread, or log that the system refuses one.

    Args:
        name: shown in stack dumps and in the log.
        target: what the thread runs.
        *arguments: the arguments of the target.

    Returns:
        The thread, or None if the system refuses it.
    """
    try:
        return start_thread(partial(target, *arguments), name)
    except ThreadRefusedError as error:
        logger.warning(
            "the launcher continues without its thread %s, which could not be started: %s",
            name,
            error,
        )
        return None
