"""Starts threads and timers, with a clear error if the system refuses one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ckptkit.errors import ThreadRefusedError

_T = TypeVar("_T", bound=threading.Thread)

_MESSAGE = (
    "Could not start the thread {name}: {error}. The system has reached the limit of threads of "
    "this user or container. Raise the limit (`ulimit -u`, or the pids limit of the container), "
    "or run fewer processes there."
)


def start_thread(
    action: Callable[[], object], name: str, *, daemon: bool = True
) -> threading.Thread:
    """Start a thread and return it.

    If the thread is refused, the caller must undo everything that depends on it, such as a lock
    that needs signs of life. The thread is returned only if it runs, so a caller never joins a
    thread that was not started.

    Args:
        action: the function that the thread runs.
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
    """Start a timer thread that calls a function later, unless it is cancelled.

    Args:
        secs: the delay in seconds.
        action: the function to call.
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
