"""Making a checkpoint visible, and taking one away: one rename each.

The order is the protocol; `docs/format.md` says why each step is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from ckptkit.errors import RunLockedError, StorageError
from ckptkit.layout import (
    MANIFEST,
    STATE_FILE,
    CheckpointName,
    RunLayout,
    is_leaving_mark,
    is_removing,
    replaced_name,
    writing_attempt,
)
from ckptkit.log import logger
from ckptkit.run.manifest import FileEntry, Manifest, encode
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import TEMPORARY, FileSystem, storage_errors


def begin_writing(files: FileSystem, layout: RunLayout, attempt: int) -> Path:
    """An empty directory in which TensorFlow may write; no reader looks at it."""
    directory = layout.writing(attempt)
    _remove_hidden(files, layout, directory)
    files.make_dir(directory)
    return directory


def commit(
    files: FileSystem,
    layout: RunLayout,
    manifest: Manifest,
    entry: Callable[[Path], FileEntry] = file_entry,
    permit: AbstractContextManager[object] | None = None,
) -> Manifest:
    """Turns the attempt's writing directory into a checkpoint.

    Args:
        files: how to change the disk.
        layout: the run.
        manifest: all but the list of files, which is made here.
        entry: finds a file's size and digest.
        permit: entered while the checkpoint becomes visible; may refuse that by raising.

    Returns:
        The manifest as it was written.

    Raises:
        StorageError: where the disk refuses; the run is then as it was before.
    """
    directory = layout.writing(manifest.attempt)
    # TensorFlow's own state file names this directory, which is about to lose its name.
    files.remove_file(directory / STATE_FILE)
    with storage_errors("read", directory):
        written = sorted(directory.iterdir())
    # The data must be on the disk before a manifest speaks of it.
    for path in written:
        files.sync_file(path)
    with storage_errors("read", directory):
        manifest = replace(manifest, files=tuple(entry(path) for path in written))
    files.create(directory / MANIFEST, encode(manifest))
    # The entries of the directory must be durable before its name is.
    files.sync_dir(directory)
    with permit or nullcontext():
        _make_visible(files, layout, directory, manifest)
    files.sync_dir(layout.checkpoints)
    try:
        _discard_replaced(files, layout, manifest.name)
    # the new one is committed: what is left of the old one is removed by the next save of this
    # step, or start
    except StorageError as error:
        logger.warning(
            "%s is saved; what it replaced could not be removed: %s", manifest.name, error
        )
    return manifest


def _make_visible(
    files: FileSystem, layout: RunLayout, directory: Path, manifest: Manifest
) -> None:
    target = layout.checkpoint(manifest.name)
    if target.exists():
        # A second save at one step in one attempt. A crash between the two renames is mended by
        # `clean_up`.
        _discard_replaced(files, layout, manifest.name)
        files.rename(target, layout.replaced(manifest.name))
    try:
        files.rename(
            directory, target
        )  # COMMIT: from here on every reader sees the whole checkpoint
    except (StorageError, RunLockedError):
        if layout.replaced(manifest.name).exists():
            files.unowned.rename(layout.replaced(manifest.name), target)
        raise


def take_away(
    files: FileSystem,
    layout: RunLayout,
    name: CheckpointName,
    spared: Callable[[], bool] = lambda: False,
) -> bool:
    """Removes a checkpoint: gone for readers in one rename, then from the disk.

    Args:
        files: how to change the disk.
        layout: the run.
        name: which.
        spared: whether somebody has laid a hand on it meanwhile; asked after the rename, so that no
            moment is left in which both could miss each other.

    Returns:
        Whether it is gone; where it was spared, it has its name again.

    Raises:
        StorageError: where the disk refuses.
    """
    removing = layout.removing(name)
    _remove_hidden(files, layout, removing)
    files.rename(layout.checkpoint(name), removing)
    try:
        kept = spared()
    except BaseException:
        files.unowned.rename(removing, layout.checkpoint(name))
        raise
    if kept:
        files.rename(removing, layout.checkpoint(name))
        return False
    with storage_errors("list", removing):
        whole = sorted(os.listdir(removing))
    try:
        _remove_hidden(files, layout, removing)
    # it was lost between the two, and what is here belongs to the other process, which may be
    # cleaning up already
    except RunLockedError:
        with suppress(OSError):
            if sorted(os.listdir(removing)) == whole:
                files.unowned.rename(removing, layout.checkpoint(name))
        raise
    return True


def _discard_replaced(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    """Removes what a second save has replaced, under a name that is never put back: the removal may
    end half-way, and the second save go later.
    """
    if os.path.lexists(layout.replaced(name)):
        files.sync_dir(layout.checkpoints)  # before it may be lost, the second save must not
        _remove_hidden(files, layout, layout.removing(name))
        files.rename(layout.replaced(name), layout.removing(name))
        _remove_hidden(files, layout, layout.removing(name))


def _remove_hidden(files: FileSystem, layout: RunLayout, path: Path) -> None:
    """Removes a directory that has lost its name as a checkpoint, once that is durable.

    Otherwise a loss of power could keep the removal of its files and take back the rename: a
    checkpoint with holes, where a whole one was.
    """
    if os.path.lexists(path):
        files.sync_dir(layout.checkpoints)
        files.remove_tree(path)


def clean_up(files: FileSystem, layout: RunLayout, own: int | None = None) -> list[str]:
    """Removes what dead saves and removals left; only the owner of a run may call this.

    Args:
        files: how to change the disk.
        layout: the run.
        own: of unfinished saves, those of this attempt only; None stands for all, as when a run is
            opened.

    Returns:
        What was done, in words.

    Raises:
        StorageError: where the disk refuses.
    """
    if not layout.checkpoints.exists():
        return []
    done = []
    with storage_errors("list", layout.checkpoints):
        entries = sorted(layout.checkpoints.iterdir())
    for path in entries:
        if (attempt := writing_attempt(path.name)) is not None:
            if own in (None, attempt):
                _remove_hidden(files, layout, path)
                done.append(f"removed an unfinished save ({path.name})")
        elif is_removing(path.name):
            _remove_hidden(files, layout, path)
            done.append(f"finished a removal ({path.name})")
        elif (
            is_leaving_mark(path.name)
            or path.name == STATE_FILE + TEMPORARY
            or (path.name.startswith(".fence-") and path.name.endswith(TEMPORARY))
        ):
            files.remove_file(path)
        elif (name := replaced_name(path.name)) is not None:
            if layout.checkpoint(name).exists():
                _discard_replaced(files, layout, name)
            else:
                files.rename(path, layout.checkpoint(name))
                done.append(f"put back {name}, whose replacement was not finished")
    return done


def set_aside(files: FileSystem, source: Path, target_dir: Path) -> Path:
    """Moves a file or directory into `target_dir` under a name that is free there; nothing is ever
    overwritten.

    Returns:
        Where it is now.

    Raises:
        StorageError: where the disk refuses.
    """
    files.make_dir(target_dir)
    files.sync_dir(
        target_dir.parent
    )  # what is moved must not hang on a directory that a loss of power takes back
    for number in range(1, 1_000_000):
        target = target_dir / (source.name if number == 1 else f"{source.name}.{number}")
        if not target.exists():
            files.rename(source, target)
            files.sync_dir(target_dir)  # the new name first: better two than none
            files.sync_dir(source.parent)
            return target
    raise StorageError(f"{target_dir} holds a million things named {source.name}: clear it.")
