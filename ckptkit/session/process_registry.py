"""The registries that all sessions of a process share, and facts about it for the journal.

The registries contain open runs, finished runs, and launchers. A forked child must not inherit
them, so a hook in `process_hooks` clears them. Handlers of signals (`preemption.signals`), locks
(`ownership.run_lock`) and writers (`writing.background_writer`) register for their own places
there.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.process_hooks import AfterFork, after_fork
from ckptkit.run import events
from ckptkit.run.library_versions import versions

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


def attempt_started() -> events.AttemptStarted:
    """Describe this process, its program and its libraries."""
    return events.AttemptStarted(
        host=socket.gethostname(),
        pid=os.getpid(),
        program=Path(sys.argv[0]).name,
        versions=versions(),
        scheduler=_scheduler(),
        process_started=_process_started(),
    )


def _process_started() -> float | None:
    """Return when this process began, in seconds since the epoch, or None.

    Returns None if the process has opened a run before, or runs interactive commands: the time
    since its start does not belong to this run then. Also returns None if the system does not know,
    as in a sandbox that shows another system's `/proc`.
    """
    first, known = (
        not state.has_opened,
        hasattr(sys.modules.get("__main__"), "__file__"),
    )
    state.has_opened = True
    try:
        return psutil.Process().create_time() + _boot_clock_error() if first and known else None
    except psutil.Error as error:
        logger.debug("the start time of this process is unknown: %s", error)
        return None


def _boot_clock_error() -> float:
    """Return the error of the kernel's boot time in seconds.

    The kernel counts a process's start from the boot. It gives the boot time in whole seconds, by
    the clock of that moment. If the clock was set since then, an attempt could seem to begin before
    the previous one ended: 0.9 s was seen on a virtual machine.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0  # not Linux
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted - float(psutil.boot_time())


def _scheduler() -> dict[str, str]:
    """Return Slurm's variables of this job, such as its number and how often it was restarted."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}


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
    """Unregister a manager that has note_closed the run."""
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
