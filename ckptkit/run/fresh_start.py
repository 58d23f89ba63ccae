"""A fresh start: earlier lives of a run are moved away, once for each label, and nothing is
deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.commit import set_aside
from ckptkit.run.events import Event, SetAside
from ckptkit.run.journal import Journal, read_journal
from ckptkit.storage.files import FileSystem


def set_aside_earlier_lives(
    files: FileSystem, layout: RunLayout, journal: Journal, label: str
) -> None:
    """Moves the run's checkpoints, quarantine and exports to `aside/`, unless a life has begun
    under this label already.

    Args:
        files: how to change the disk.
        layout: the run.
        journal: of this attempt; it remembers the label.
        label: a fresh start happens once under it, so it may stay in a script that is started again
            and again.

    Raises:
        StorageError: where the disk refuses.
    """
    if is_known_label(read_journal(layout).events, label):
        return
    moved_to = ""
    for directory in (layout.checkpoints, layout.quarantine, layout.export):
        if directory.is_dir() and any(directory.iterdir()):
            moved_to = str(set_aside(files, directory, layout.aside).relative_to(layout.root))
            logger.info(
                "fresh start %r: moved %s to %s", label, directory.name, layout.root / moved_to
            )
    make_checkpoints(files, layout)
    # If this line were lost, the next start would move this life away as well.
    journal.record_durable(SetAside(label=label, moved_to=moved_to))


def make_checkpoints(files: FileSystem, layout: RunLayout) -> None:
    """Makes `checkpoints/`, with which a run begins.

    Where an earlier one was moved to `aside/` by a process that was killed then, the move is made
    durable first: a new directory in the place of the old one, without the move, would be the end
    of what was in it.

    Raises:
        StorageError: where the disk refuses.
    """
    if layout.aside.is_dir() and not layout.checkpoints.exists():
        files.sync_dir(layout.aside)
        files.sync_dir(layout.root)
    files.make_dir(layout.checkpoints)


def is_known_label(events: Sequence[Event], label: str) -> bool:
    """Whether a life has begun under this label."""
    return any(isinstance(event, SetAside) and event.label == label for event in events)


def this_life(events: Sequence[Event]) -> list[Event]:
    """The events since the last fresh start.

    Attempts follow one another, so their numbers say what was later; times do not, where a clock
    was wrong. A fresh start is what an attempt begins with. Lines of no attempt, the launcher's,
    have only their time.
    """
    start = max(
        (event for event in events if isinstance(event, SetAside)),
        key=lambda event: event.attempt,
        default=None,
    )
    if start is None:
        return list(events)
    return [
        event
        for event in events
        if event is not start
        and (event.attempt >= start.attempt if event.attempt else event.time >= start.time)
    ]
