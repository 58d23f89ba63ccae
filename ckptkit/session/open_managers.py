"""The registry of open runs in this process: at most one manager has a run open.

If a second manager opens a run, the first one is closed, unless it is training.
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
    """Close the other manager of this process that has the run open, if there is one.

    Raises:
        RunLockedError: If that manager is training now.
    """
    # Another thread may be closing the same run now, for a `fit` that was abandoned.
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
            "process. Expected one at a time: wait for its end, or name another directory."
        )
    other.close_session(None)


def opened(layout: RunLayout, manager: Any) -> None:
    """Register the manager that has the run open."""
    with state.guard:
        state.open_runs[run_key(layout)] = manager


def closed(layout: RunLayout, manager: Any) -> None:
    """Unregister a manager that has closed the run."""
    with state.guard:
        if state.open_runs.get(run_key(layout)) is manager:
            del state.open_runs[run_key(layout)]


def close_on_a_thread(close: Callable[[], object]) -> None:
    """Close a run on a new thread; the next manager that opens a run waits for it.

    The interpreter also waits for the thread at exit, because it is not a daemon.
    """
    registered = threading.Event()

    def work() -> None:
        registered.wait()  # registered first, because it may end at once
        try:
            close()
        finally:
            state.closing.discard(threading.current_thread())

    try:
        state.closing.add(start_thread(work, "ckptkit-left", daemon=False))
    # No warning needed: either the interpreter exits and closes the run itself, or the lock ends
    # with the process.
    except ThreadRefusedError as error:
        logger.debug("could not record the end of an abandoned fit: %s", error)
    registered.set()
