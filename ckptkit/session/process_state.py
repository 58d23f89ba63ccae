"""The registries that sessions of one process share: open runs, finished runs, launchers.

A forked child must not inherit them, so a hook in `process_hooks` clears them. Handlers of
signals (`preemption.signals`), locks (`ownership.run_lock`) and writers
(`writing.background_writer`) register for their own places there.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckptkit.layout import RunLayout
from ckptkit.process_hooks import AfterFork, after_fork

if TYPE_CHECKING:
    from ckptkit.session.launcher_client import LauncherClient


@dataclass
class ProcessState:
    """The registries of one process.

    Args:
        open_runs: the manager that has each run open, by `run_key`.
        closing: threads that close a run; the next one to open a run waits for them.
        launchers: the client of each launcher's channel, by its directory; None if another process
            of that launcher uses it.
        finished: what was trained to the end of each run, by `run_key`.
        trained_to: the step at which a `fit` of this process has finished each run, by `run_key`.
        has_opened: whether this process has opened a run before.
        guard: protects `open_runs`.
    """

    open_runs: dict[str, Any] = field(default_factory=dict)
    closing: set[threading.Thread] = field(default_factory=set)
    launchers: dict[str, LauncherClient | None] = field(default_factory=dict)
    finished: dict[str, list[weakref.ref[Any]]] = field(default_factory=dict)
    trained_to: dict[str, int] = field(default_factory=dict)
    has_opened: bool = False
    # Reentrant: the garbage collector may run inside, and close the run of a `fit` that was left.
    guard: Any = field(default_factory=threading.RLock)

    def forget_in_child(self) -> None:
        """Forget the parent's entries, in a forked child.

        `finished` and `trained_to` stay: the child has copies of the same objects.
        """
        launchers, self.launchers = self.launchers, {}
        self.open_runs, self.closing, self.has_opened = {}, set(), False
        # Another thread of the parent may have had it at the fork; nobody would ever free it here.
        self.guard = threading.RLock()
        for client in launchers.values():
            if client is not None:
                client.close_in_child()


state = ProcessState()

after_fork(AfterFork.SESSIONS, state.forget_in_child)


def run_key(layout: RunLayout) -> str:
    """Return the registry key of a run, which is the same for all spellings of its path."""
    return str(layout.root.resolve())
