"""Keeps the registries that all sessions of a process share.

The registries contain open runs, finished runs, and launchers. A forked child must not inherit
them, so a hook in `process_hooks` clears them. Handlers of signals (`preemption.signals`), locks
(`ownership.run_lock`) and writers (`writing.background_writer`) register for their own places
there.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.process_hooks import AfterFork, after_fork

if TYPE_CHECKING:
    from ckptkit.session.launcher_client import LauncherClient
from collections.abc import Callable

from ckptkit.errors import RunLockedError, ThreadRefusedError
from ckptkit.threads import start_thread


@dataclass
class ProcessState:
    """The registries of one process.

    Args:
        open_runs: the manager that has each run open, by `run_key`.
        closing: the threads that are closing a run; the next open of a run waits for them.
        launchers: the client of each launcher's channel, by the channel's directory; None if
            another process uses the channel.
        finished: the objects with which each run was finished, by `run_key`.
        trained_to: the step at which this process has finished each run, by `run_key` and "";
            and at which it has found the run finished, by `run_key` and the total that it asked
            for.
        has_opened: whether this process has opened a run before.
        guard: protects `open_runs`.
    """

    open_runs: dict[str, Any] = field(default_factory=dict)
    closing: set[threading.Thread] = field(default_factory=set)
    launchers: dict[str, LauncherClient | None] = field(default_factory=dict)
    finished: dict[str, list[weakref.ref[Any]]] = field(default_factory=dict)
    trained_to: dict[tuple[str, str], int] = field(default_factory=dict)
    has_opened: bool = False
    # Reentrant: the garbage collector may run while it is held, and close the run of an abandoned
    # `fit`.
    guard: Any = field(default_factory=threading.RLock)

    def forget_in_child(self) -> None:
        """Remove the parent's entries in a forked child.

        `finished` and `trained_to` stay: the child has copies of the same objects.
        """
        launchers, self.launchers = self.launchers, {}
        self.open_runs, self.closing, self.has_opened = {}, set(), False
        # Another thread of the parent may have held it at the fork, and would never release it
        # here.
        self.guard = threading.RLock()
        for client in launchers.values():
            if client is not None:
                client.close_in_child()


state = ProcessState()

after_fork(AfterFork.SESSIONS, state.forget_in_child)


def run_key(layout: RunLayout) -> str:
    """Return the registry key of a run, which is the same for all spellings of its path."""
    return str(layout.root.resolve())


def is_open(layout: RunLayout) -> bool:
    """Return whether this process has a run open."""
    return run_key(layout) in state.open_runs


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


def note_open(layout: RunLayout, manager: Any) -> None:
    """Register the manager that has the run open."""
    with state.guard:
        state.open_runs[run_key(layout)] = manager


def note_closed(layout: RunLayout, manager: Any) -> None:
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
