"""Process-wide hooks with a stated order: in a forked child, and at the exit of the interpreter.

Several rooms keep something that belongs to one process: signal handlers, open descriptors, locks,
threads. Python runs their hooks in an order that depends on which module was imported first. Here
the order is written down, and each room registers for its own place in it.
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
    """First: a signal must not reach handlers that belong to the runs of the parent."""
    SESSIONS = auto()
    """The registries of open runs and the channel to a launcher belong to the parent."""
    WRITERS = auto()
    """Before the locks: a writer forgets its work, and nothing is committed any more."""
    LOCKS = auto()
    """The child closes its copies of the descriptors, so that an orphan holds no run."""


class AtExit(IntEnum):
    """The order of the hooks at the exit of the interpreter; the first member runs first."""

    WRITERS = auto()
    """Before the locks: a save that is being written needs the run to be still our own."""
    LAUNCHER = auto()
    """After the writers: a launcher takes the report for the end of the training."""
    LOCKS = auto()


class ProcessHooks:
    """The hooks of one process, each in its place.

    Each hook runs, even if one before it raised. What a hook raised is raised at the end.
    """

    def __init__(self) -> None:
        self._after_fork: dict[AfterFork, Callable[[], None]] = {}
        self._at_exit: dict[AtExit, Callable[[], None]] = {}

    def after_fork(self, place: AfterFork, hook: Callable[[], None]) -> None:
        """Register the hook that a forked child runs in this place."""
        self._after_fork[place] = hook

    def at_exit(self, place: AtExit, hook: Callable[[], None]) -> None:
        """Register the hook that the interpreter runs in this place when it exits."""
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
    """Have every forked child of this process run a hook.

    Args:
        place: when, among the hooks of the other rooms.
        hook: what to run; a later one for the same place replaces it.
    """
    _hooks.after_fork(place, hook)


def at_exit(place: AtExit, hook: Callable[[], None]) -> None:
    """Have this process run a hook when its interpreter exits.

    Args:
        place: when, among the hooks of the other rooms.
        hook: what to run; a later one for the same place replaces it.
    """
    _hooks.at_exit(place, hook)
    # Python runs last what was registered first. Registered anew, our hooks run before those of
    # every library that was imported until now, as of TensorFlow, which a writer still needs.
    atexit.unregister(_hooks.run_at_exit)
    atexit.register(_hooks.run_at_exit)
