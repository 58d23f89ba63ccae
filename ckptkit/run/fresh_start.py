"""A fresh start: earlier lives of a run are moved to `aside/`, once for each label."""

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
    """Move checkpoints, quarantine and exports to `aside/`, once for each label.

    If a life has begun under this label already, nothing happens. Nothing is ever deleted.

    Args:
        files: how to change the disk.
        layout: the run.
        journal: the journal of this attempt; it remembers the label.
        label: the label; a script may pass the same one at every start.

    Raises:
        StorageError: If the disk refuses.
    """
    if is_known_label(read_journal(layout, files=files).events, label):
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
    """Create `checkpoints/`, with which a run begins.

    If a process was killed after it had moved an earlier `checkpoints/` to `aside/`, that move is
    made durable first. Else a power loss could keep the new directory and undo the move, and all
    that was in the old directory would be lost.

    Raises:
        StorageError: If the disk refuses.
    """
    if layout.aside.is_dir() and not layout.checkpoints.exists():
        files.sync_dir(layout.aside)
        files.sync_dir(layout.root)
    files.make_dir(layout.checkpoints)


def is_known_label(events: Sequence[Event], label: str) -> bool:
    """Return whether a life has begun under this label."""
    return any(isinstance(event, SetAside) and event.label == label for event in events)


def this_life(events: Sequence[Event]) -> list[Event]:
    """Return the events since the last fresh start.

    Attempts follow one another, so their numbers give the order. Times do not, if a clock was
    wrong. A fresh start comes first in its attempt. Only the launcher's lines, which belong to no
    attempt, are compared by time.
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
