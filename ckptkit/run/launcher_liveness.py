"""Finds the launchers of a run, and whether each is still running.

On this machine the kernel knows that. For another machine, only the launcher's journal can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from ckptkit.layout import RunLayout
from ckptkit.ownership.kernel_lock import is_held
from ckptkit.ownership.machine_identity import this_machine
from ckptkit.run.events import LaunchDecided, LaunchStarted, Requested
from ckptkit.run.journal_reader import read_journal, read_launcher


@dataclass(frozen=True)
class Launcher:
    """A launcher that has written to a run's journal.

    Args:
        layout: the run.
        id: the id of the launcher.
        host: the name of its machine.
        is_here: whether it was started on this machine, so that the kernel knows whether it runs.
    """

    layout: RunLayout
    id: str
    host: str
    is_here: bool

    @property
    def has_ended(self) -> bool:
        """Whether the launcher has ended; on another machine, its death may not be recorded.

        Raises:
            StorageError: If its journal cannot be read.
        """
        held = is_held(self.layout.launcher_journal(self.id)) if self.is_here else None
        if held is not None:
            return not held
        return any(
            isinstance(event, LaunchDecided) and event.action == "stop"
            for event in read_launcher(self.layout, self.id)
        )

    @property
    def has_heard(self) -> bool:
        """Whether the launcher has recorded a request to stop.

        Raises:
            StorageError: If its journal cannot be read.
        """
        return any(isinstance(event, Requested) for event in read_launcher(self.layout, self.id))


def living_launcher(layout: RunLayout) -> Launcher | None:
    """Return the newest launcher that has not ended, or None.

    A launcher on another machine counts only if no other launcher started after it, because it may
    have been lost without recording its end.

    Raises:
        StorageError: If a journal cannot be read.
    """
    boot = this_machine().boot
    started = {
        event.launcher: event
        for event in read_journal(layout).events
        if isinstance(event, LaunchStarted)
    }
    newest_first = [
        Launcher(layout, event.launcher, event.host, bool(boot) and event.boot == boot)
        for event in sorted(started.values(), key=lambda event: event.time, reverse=True)
    ]
    return next(
        (
            each
            for each in newest_first
            if (each.is_here or each is newest_first[0]) and not each.has_ended
        ),
        None,
    )
