"""A fresh start: moves all earlier checkpoints of a run to `aside/`, once for each label."""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.commit import set_aside
from ckptkit.run.events import Event, SetAside
from ckptkit.run.journal import Journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.storage.files import FileSystem


def set_aside_earlier_lives(
    files: FileSystem, layout: RunLayout, journal: Journal, label: str
) -> None:
    """Move checkpoints, quarantine and exports to `aside/`, once for each label.

    If the label was used before, this does nothing. It never deletes anything.

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
    # If this line were lost, the next start would move the new checkpoints away too.
    journal.record_durable(SetAside(label=label, moved_to=moved_to))


def make_checkpoints(files: FileSystem, layout: RunLayout) -> None:
    """Create the directory `checkpoints/` of a run.

    A killed process may have moved an earlier `checkpoints/` to `aside/`. That move is made durable
    first. Otherwise a power loss could undo the move but keep the new directory, and the content of
    the old directory would be lost.

    Raises:
        StorageError: If the disk refuses.
    """
    if layout.aside.is_dir() and not layout.checkpoints.exists():
        files.sync_dir(layout.aside)
        files.sync_dir(layout.root)
    files.make_dir(layout.checkpoints)


def is_known_label(events: Sequence[Event], label: str) -> bool:
    """Return whether a fresh start under this label has already happened."""
    return any(isinstance(event, SetAside) and event.label == label for event in events)


def this_life(events: Sequence[Event]) -> list[Event]:
    """Return the events since the last fresh start.

    Attempt numbers give the order, because times may be wrong. A fresh start comes first in its
    attempt. Only the launcher's lines, which belong to no attempt, are compared by time.
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
