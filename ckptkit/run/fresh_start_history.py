"""Finds which labels of fresh starts have acted, from records, manifests and the journal.

A wrong "no" sets a whole training aside. So a label has acted if any of three places says so: its
record in `fresh/`, the manifest of a checkpoint, the journal. It has not acted only if something
proves that; else the answer is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckptkit.layout import RunLayout, journal_attempt
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.events import SetAside
from ckptkit.run.fresh_start_records import has_record, read_records
from ckptkit.run.journal_reader import MAX_LINE_BYTES, decode_line, read_journal
from ckptkit.storage.files import DISK, FileSystem, names_in, storage_errors


@dataclass(frozen=True)
class FreshStartLabels:
    """The labels of fresh starts that have acted in a run.

    Args:
        labels: those that are known.
        doubts: why there may be others, in words; empty if there are none.
    """

    labels: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def fresh_start_labels(layout: RunLayout, files: FileSystem = DISK) -> FreshStartLabels:
    """Return the labels that have acted in a run.

    The manifest of a checkpoint lists all labels until then, under a digest. A label that acted
    later has moved that checkpoint away. So the newest readable list leaves no doubt. Checkpoints
    of earlier versions have no list; then the journal has to be whole.

    Raises:
        StorageError: If a directory or a journal cannot be read.
    """
    listed = _newest_list(layout, files)
    if listed is not None:
        # What acted since then and was killed before its first save has no checkpoint.
        since = [event.label for event in read_records(layout, files)]
        return FreshStartLabels(tuple(dict.fromkeys([*listed, *since])))
    view = read_journal(layout, wanted=[SetAside], files=files)
    found = [event.label for event in view.events if isinstance(event, SetAside)]
    return FreshStartLabels(tuple(dict.fromkeys(found)), _doubts(layout, files))


def has_acted(layout: RunLayout, label: str, history: FreshStartLabels, files: FileSystem) -> bool:
    """Return whether a record, a manifest or the journal shows that a label has acted.

    Args:
        layout: the run.
        label: the label.
        history: the result of `fresh_start_labels`.
        files: how the disk is read.

    Raises:
        StorageError: If a directory or a journal cannot be read.
    """
    return (
        label in history.labels
        or has_record(layout, label, files)
        or any(
            isinstance(event, SetAside) and event.label == label
            for event in read_journal(layout, wanted=[SetAside], files=files).events
        )
    )


def _newest_list(layout: RunLayout, files: FileSystem) -> tuple[str, ...] | None:
    """Return the labels in the newest manifest that lists them, or None."""
    for checkpoint in reversed(list_checkpoints(layout, files)):
        if checkpoint.problem is None and checkpoint.head.fresh_labels is not None:
            return checkpoint.head.fresh_labels
    return None


def _doubts(layout: RunLayout, files: FileSystem) -> tuple[str, ...]:
    """Return why a line about a fresh start may be missing in the journal.

    A fresh start moves all checkpoints away. So it is no older than the oldest one that is there,
    and only what is missing until then counts.
    """
    attempts = [checkpoint.attempt for checkpoint in list_checkpoints(layout, files)]
    oldest = min(attempts, default=None)
    names = names_in(files, layout.journal)
    present = {number for name in names if (number := journal_attempt(name)) is not None}
    last = oldest if oldest is not None else max(present, default=0)
    missing = [
        f"{layout.attempt_journal(number).name} is missing"
        for number in range(1, last + 1)
        if number not in present
    ]
    damaged = [
        problem
        for number in sorted(present)
        if number <= last
        for problem in _unreadable_lines(layout.attempt_journal(number), files)
    ]
    return (*damaged, *missing)


def _unreadable_lines(path: Path, files: FileSystem) -> Iterator[str]:
    """Yield the lines of a journal that may have been about a fresh start.

    Half a line at the end is none of them: its process died over it, before it trained.
    """
    with storage_errors("read", path), files.open_read(path) as file:
        number = 0
        while (line := file.readline(MAX_LINE_BYTES + 1)).endswith(b"\n") or len(
            line
        ) > MAX_LINE_BYTES:
            number += 1
            try:
                is_known = line == b"\n" or decode_line(line) is not None
            except (ValueError, RecursionError):
                is_known = False
            if not is_known:
                yield f"line {number} of {path.name} cannot be read"
