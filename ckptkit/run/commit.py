"""Commits a checkpoint: one rename makes a hidden directory visible to readers.

The order of the steps matters; `docs/format.md` gives the reason for each.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from ckptkit.errors import RunLockedError, StorageError
from ckptkit.layout import (
    MANIFEST,
    MAX_ATTEMPT,
    MAX_STEP,
    CheckpointName,
    RunLayout,
)
from ckptkit.log import logger
from ckptkit.run.checkpoint_removal import discard_replaced, remove_hidden
from ckptkit.run.manifest import FileEntry, Manifest, encode
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import FileSystem, storage_errors

# Seconds that a rename may delay the close of an abandoned run, because a dead server never
# answers.
_RENAME_SECS = 2.0


class AbandonedError(Exception):
    """The run was closed while a save was being written."""


class Permit:
    """A lock around each commit; after `withdraw`, no checkpoint is committed any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.withdrawn = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if self.withdrawn:
            self._lock.release()
            raise AbandonedError

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def withdraw(self) -> None:
        """Forbid all further commits.

        Waits at most two seconds for a rename in progress.
        """
        acquired = self._lock.acquire(timeout=_RENAME_SECS)
        # Set even without the lock. A rename that hangs may still succeed later. Then the
        # checkpoint is complete, and only the cleanup is skipped.
        self.withdrawn = True
        if acquired:
            self._lock.release()


def begin_writing(files: FileSystem, layout: RunLayout, attempt: int) -> Path:
    """Create the empty, hidden directory into which TensorFlow writes."""
    directory = layout.writing(attempt)
    remove_hidden(files, layout, directory)
    files.make_dir(directory)
    return directory


def commit(
    files: FileSystem,
    layout: RunLayout,
    manifest: Manifest,
    entry: Callable[[Path], FileEntry] = file_entry,
    permit: AbstractContextManager[object] | None = None,
) -> Manifest:
    """Turn the attempt's writing directory into a checkpoint.

    Args:
        files: how to change the disk.
        layout: the run.
        manifest: the manifest, complete except for the list of files.
        entry: finds a file's size and digest.
        permit: a context that is entered for the commit; it raises an error to forbid the commit.

    Returns:
        The manifest as it was written.

    Raises:
        StorageError: If the disk refuses. The run is then unchanged.
    """
    if CheckpointName.parse(str(manifest.name)) != manifest.name:
        # Confirmed, it would be on the disk, and no reader would list it.
        raise StorageError(
            errno.ENAMETOOLONG,
            f"Could not save step {manifest.step}: {manifest.name} is not a valid name of a "
            f"checkpoint. Expected a step from 0 to {MAX_STEP:,} and an attempt up to "
            f"{MAX_ATTEMPT:,}.",
        )
    directory = layout.writing(manifest.attempt)
    with storage_errors("read", directory):
        written = sorted(directory.iterdir())
    # The data must be durable before a manifest describes it.
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
        discard_replaced(files, layout, manifest.name)
    # The new checkpoint is committed. The next save at this step, or the next start, removes the
    # rest of the old one.
    except StorageError as error:
        logger.warning(
            "%s is saved; the checkpoint that it replaced could not be removed: %s",
            manifest.name,
            error,
        )
    return manifest


def _make_visible(
    files: FileSystem, layout: RunLayout, directory: Path, manifest: Manifest
) -> None:
    target = layout.checkpoint(manifest.name)
    if target.exists():
        # A second save at the same step in one attempt. After a crash between the two renames,
        # `clean_up` restores the old checkpoint.
        discard_replaced(files, layout, manifest.name)
        files.rename(target, layout.replaced(manifest.name))
    try:
        # COMMIT: from here on every reader sees the complete checkpoint.
        files.rename(directory, target)
    except (StorageError, RunLockedError):
        if layout.replaced(manifest.name).exists():
            files.unowned.rename(layout.replaced(manifest.name), target)
        raise
