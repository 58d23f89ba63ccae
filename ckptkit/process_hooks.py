"""Runs hooks after a fork and at the interpreter's exit, in a fixed order.

Several parts of ckptkit keep things that belong to one process: signal handlers, open descriptors,
locks, threads. Python would run their hooks in an order that depends on imports. Here the order is
fixed, and each part registers its hook for its place.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum, auto


class AfterFork(IntEnum):
    """The order of the hooks in a forked child; the first member runs first."""

    SIGNALS = auto()
    """First, because a signal must not reach handlers of the parent's runs."""
    SESSIONS = auto()
    """The registries of open runs and the channel to a launcher belong to the parent."""
    WRITERS = auto()
    """Before the locks: a writer drops its work, so that nothing is committed any more."""
    LOCKS = auto()
    """The child closes its copies of the descriptors, so that it does not keep runs locked."""


class AtExit(IntEnum):
    """The order of the hooks at the exit of the interpreter; the first member runs first."""

    WRITERS = auto()
    """Before the locks, because a save in progress still needs the lock of its run."""
    LAUNCHER = auto()
    """After the writers, because a launcher treats this report as the end of the training."""
    MIRRORS = auto()
    """After the writers, which may still save, and before the locks: the run is still owned."""
    LOCKS = auto()


class ProcessHooks:
    """Runs the hooks of one process in order.

    Each hook runs, even if an earlier one raised. The error is raised at the end.
    """

    def __init__(self) -> None:
        self._after_fork: dict[AfterFork, Callable[[], None]] = {}
        self._at_exit: dict[AtExit, Callable[[], None]] = {}

    def after_fork(self, place: AfterFork, hook: Callable[[], None]) -> None:
        """Register the hook that a forked child runs at this place."""
        self._after_fork[place] = hook

    def at_exit(self, place: AtExit, hook: Callable[[], None]) -> None:
        """Register the hook that the interpreter runs at this place when it exits."""
        self._at_exit[place] = hook

    def run_after_fork(self) -> None:
        """Run the hooks of a forked child, in order."""
        _run([hook for _, hook in sorted(self._after_fork.items())])

    def run_at_exit(self) -> None:
        """Run the hooks of an exit, in order."""
        _run([hook for _, hook in sorted(self._at_exit.items())])


def _run(hooks: list[Callable[[], None]]) -> None:
    with ExitStack() as stack:
        for hook in reversed(hooks):
            stack.callback(hook)


_hooks = ProcessHooks()

os.register_at_fork(after_in_child=_hooks.run_after_fork)


def after_fork(place: AfterFork, hook: Callable[[], None]) -> None:
    """Register a hook that every forked child of this process runs.

    Args:
        place: the place in the order of hooks.
        hook: the function to run; a later one for the same place replaces it.
    """
    _hooks.after_fork(place, hook)


def at_exit(place: AtExit, hook: Callable[[], None]) -> None:
    """Register a hook that this process runs when its interpreter exits.

    Args:
        place: the place in the order of hooks.
        hook: the function to run; a later one for the same place replaces it.
    """
    _hooks.at_exit(place, hook)
    # Python runs hooks in reverse order of registration. Registered again, this hook runs before
    # those of all libraries imported so far, such as TensorFlow, which a writer still needs.
    atexit.unregister(_hooks.run_at_exit)
    atexit.register(_hooks.run_at_exit)
