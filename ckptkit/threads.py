"""Starting threads: one place that says what happens if the system allows no further one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ckptkit.errors import ThreadRefusedError

_T = TypeVar("_T", bound=threading.Thread)

_MESSAGE = (
    "Could not start the thread {name}: {error}. The system allows this user or container no "
    "further thread. Raise the limit (`ulimit -u`, or the pids limit of the container), or run "
    "fewer processes there."
)


def start_thread(
    action: Callable[[], object], name: str, *, daemon: bool = True
) -> threading.Thread:
    """Starts a thread.

    What depends on the thread has to be undone by the caller if it is refused: a lock that nobody
    keeps alive, a queue that nobody reads, an action that never happens. The thread is returned
    only if it runs, so a caller that keeps it never joins one that was not started.

    Args:
        action: what the thread does.
        name: the name of the thread, for debuggers and stack dumps.
        daemon: whether the interpreter may exit while it runs.

    Returns:
        The running thread.

    Raises:
        ThreadRefusedError: If the system allows no further thread, or the interpreter is exiting.
    """
    return _start(threading.Thread(target=action, name=name, daemon=daemon))


def start_timer(
    secs: float, action: Callable[[], object], name: str, *, daemon: bool = True
) -> threading.Timer:
    """Starts a thread that does something later, unless it is cancelled.

    Args:
        secs: the delay.
        action: what is done then.
        name: as for `start_thread`.
        daemon: as for `start_thread`.

    Returns:
        The running timer; `cancel()` stops it.

    Raises:
        ThreadRefusedError: If the system allows no further thread, or the interpreter is exiting.
    """
    timer = threading.Timer(secs, action)
    timer.name, timer.daemon = name, daemon
    return _start(timer)


def _start(thread: _T) -> _T:
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        # CPython reports a refused thread as a plain RuntimeError ("can't start new thread").
        raise ThreadRefusedError(_MESSAGE.format(name=thread.name, error=error)) from error
    return thread
