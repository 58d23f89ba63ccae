"""A registry of the runs that managers of this process have open.

A second manager closes the first one, unless that one is training.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ckptkit.errors import RunLockedError, ThreadRefusedError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.session.process_state import run_key, state
from ckptkit.threads import start_thread


def take_over(layout: RunLayout, manager: Any) -> None:
    """Close another manager of this process that has the run open.

    Raises:
        RunLockedError: If that manager is training now.
    """
    # A `fit` that was left may be closing the same run at this moment, on another thread.
    for thread in list(state.closing):
        if thread is not threading.current_thread():
            thread.join()
    with state.guard:
        other = state.open_runs.get(run_key(layout))
    if other is None or other is manager or not other.is_open:
        return
    if other.is_training:
        raise RunLockedError(
            f"The run in {layout.root} is being trained by another manager or callback of this "
            "process. Expected one at a "
            f"time: let that one end, or name another directory."
        )
    other.close_session(None)


def opened(layout: RunLayout, manager: Any) -> None:
    """Note which manager has the run open."""
    with state.guard:
        state.open_runs[run_key(layout)] = manager


def closed(layout: RunLayout, manager: Any) -> None:
    """Note that a manager has closed the run."""
    with state.guard:
        if state.open_runs.get(run_key(layout)) is manager:
            del state.open_runs[run_key(layout)]


def close_on_a_thread(close: Callable[[], object]) -> None:
    """Close a run on a thread of its own; the next one to open a run waits for it.

    The interpreter also waits for it at exit, because the thread is not a daemon.
    """
    registered = threading.Event()

    def work() -> None:
        registered.wait()  # or it could be over before it is in the registry, and stay there
        try:
            close()
        finally:
            state.closing.discard(threading.current_thread())

    try:
        state.closing.add(start_thread(work, "ckptkit-left", daemon=False))
    # No warning, unlike elsewhere: either the interpreter is exiting, and closes the run as well,
    # or the lock ends with the process.
    except ThreadRefusedError as error:
        logger.debug("could not record the end of a fit that was left: %s", error)
    registered.set()
