"""Making a checkpoint visible, and taking one away: one rename each.

The order is the protocol; `docs/format.md` says why each step is there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from ckptkit.errors import StorageError
from ckptkit.log import logger
from ckptkit.store.files import FileSystem, storage_errors
from ckptkit.store.layout import (
    MANIFEST,
    STATE_FILE,
    CheckpointName,
    RunLayout,
    is_removing,
    replaced_name,
    writing_attempt,
)
from ckptkit.store.manifest import FileEntry, Manifest, encode
from ckptkit.store.verify import file_entry


def begin_writing(files: FileSystem, layout: RunLayout, attempt: int) -> Path:
    """An empty directory in which TensorFlow may write; no reader looks at it."""
    directory = layout.writing(attempt)
    files.remove_tree(directory)
    files.make_dir(directory)
    return directory


def commit(files: FileSystem, layout: RunLayout, manifest: Manifest, entry: Callable[[Path], FileEntry] = file_entry,
           permit: AbstractContextManager[object] | None = None) -> Manifest:
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
        files.remove_tree(layout.replaced(manifest.name))
    except StorageError as error:  # the new one is committed: what is left of the old one is removed by the next save of this step, or start
        logger.warning("%s is saved; what it replaced could not be removed: %s", manifest.name, error)
    return manifest


def _make_visible(files: FileSystem, layout: RunLayout, directory: Path, manifest: Manifest) -> None:
    target = layout.checkpoint(manifest.name)
    if target.exists():
        # A second save at one step in one attempt. A crash between the two renames is mended by `clean_up`.
        files.remove_tree(layout.replaced(manifest.name))
        files.rename(target, layout.replaced(manifest.name))
    try:
        files.rename(directory, target)  # COMMIT: from here on every reader sees the whole checkpoint
    except StorageError:
        if layout.replaced(manifest.name).exists():
            files.rename(layout.replaced(manifest.name), target)
        raise


def take_away(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    """Removes a checkpoint: gone for readers in one rename, then from the disk."""
    removing = layout.removing(name)
    files.remove_tree(removing)
    files.rename(layout.checkpoint(name), removing)
    files.remove_tree(removing)


def clean_up(files: FileSystem, layout: RunLayout) -> list[str]:
    """Removes what dead saves and removals left; only the owner of a run may call this.

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
        if writing_attempt(path.name) is not None:
            files.remove_tree(path)
            done.append(f"removed an unfinished save ({path.name})")
        elif is_removing(path.name):
            files.remove_tree(path)
            done.append(f"finished a removal ({path.name})")
        elif (name := replaced_name(path.name)) is not None:
            if layout.checkpoint(name).exists():
                files.remove_tree(path)
            else:
                files.rename(path, layout.checkpoint(name))
                done.append(f"put back {name}, whose replacement was not finished")
    return done


def set_aside(files: FileSystem, source: Path, target_dir: Path) -> Path:
    """Moves a file or directory into `target_dir` under a name that is free there; nothing is ever overwritten.

    Returns:
        Where it is now.

    Raises:
        StorageError: where the disk refuses.
    """
    files.make_dir(target_dir)
    for number in range(1, 1_000_000):
        target = target_dir / (source.name if number == 1 else f"{source.name}.{number}")
        if not target.exists():
            files.rename(source, target)
            files.sync_dir(target_dir)
            return target
    raise StorageError(f"{target_dir} holds a million things named {source.name}: clear it.")
