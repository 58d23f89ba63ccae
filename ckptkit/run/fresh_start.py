"""A fresh start: moves all earlier checkpoints of a run to `aside/`, once for each label."""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.events import Event, SetAside
from ckptkit.run.fresh_start_history import fresh_start_labels, has_acted
from ckptkit.run.fresh_start_records import FreshStartRecord, write_record
from ckptkit.run.journal import Journal, best_effort
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.set_aside import set_aside
from ckptkit.storage.files import DISK, FileSystem, names_in

_MOST_DOUBTS = 3


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
        ConfigError: If it is not known whether the label has acted already, and there is a
            training to lose.
        StorageError: If the disk refuses.
    """
    history = fresh_start_labels(layout, files)
    if has_acted(layout, label, history, files):
        with best_effort(journal, f"record the fresh start {label!r}"):
            _record(files, layout, label)
        return
    # Checkpoints last: their manifests tell that the label is new, if this process is killed here.
    earlier = [
        directory
        for directory in (layout.quarantine, layout.export, layout.checkpoints)
        if names_in(files, directory)
    ]
    if earlier and history.doubts:
        raise _unknown(layout, label, history.doubts)
    moved_to = ""
    for directory in earlier:
        moved_to = str(set_aside(files, directory, layout.aside).relative_to(layout.root))
        logger.info("fresh start %r: moved %s to %s", label, directory.name, layout.root / moved_to)
    make_checkpoints(files, layout)
    # If both were lost, the next start would move this life away as well.
    write_record(
        files,
        layout,
        FreshStartRecord(
            label=label, attempt=journal.attempt, time=journal.now(), moved_to=moved_to
        ),
    )
    journal.record_durable(SetAside(label=label, moved_to=moved_to))


def _record(files: FileSystem, layout: RunLayout, label: str) -> None:
    """Write the record of a label that only the journal has, as in runs of earlier versions.

    Raises:
        StorageError: If the disk refuses.
    """
    for event in read_journal(layout, wanted=[SetAside], files=files).events:
        if isinstance(event, SetAside) and event.label == label:
            write_record(
                files,
                layout,
                FreshStartRecord(
                    label=label, attempt=event.attempt, time=event.time, moved_to=event.moved_to
                ),
            )
            return


def _unknown(layout: RunLayout, label: str, doubts: Sequence[str]) -> ConfigError:
    more = f", and {len(doubts) - _MOST_DOUBTS} more" if len(doubts) > _MOST_DOUBTS else ""
    return ConfigError(
        f"Expected to know whether fresh={label!r} has begun this training already. Received a "
        f"journal in {layout.journal} that may have lost the line: "
        f"{'; '.join(doubts[:_MOST_DOUBTS])}{more}. Nothing was moved. To resume the training in "
        f"{layout.root}, leave fresh out; to begin a new one, name another directory, or move "
        f"{layout.checkpoints} away."
    )


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


def is_known_label(layout: RunLayout, label: str, files: FileSystem = DISK) -> bool:
    """Return whether a life has begun under this label, or may have.

    Raises:
        StorageError: If a directory or a journal cannot be read.
    """
    history = fresh_start_labels(layout, files)
    return bool(history.doubts) or has_acted(layout, label, history, files)


def labels_to_record(layout: RunLayout, files: FileSystem = DISK) -> tuple[str, ...] | None:
    """Return the labels that the next checkpoints list; None if others may have acted.

    Raises:
        StorageError: If a directory or a journal cannot be read.
    """
    history = fresh_start_labels(layout, files)
    return None if history.doubts else history.labels


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
