"""Commits and removes checkpoints; one rename makes a checkpoint visible or invisible.

The order of the steps matters; `docs/format.md` gives the reason for each.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from ckptkit.errors import RunLockedError, StorageError
from ckptkit.layout import (
    MANIFEST,
    MAX_ATTEMPT,
    MAX_STEP,
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
from ckptkit.storage.files import TEMPORARY, FileSystem, names_in, storage_errors

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
    """Create the empty directory into which TensorFlow writes, and which readers ignore."""
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
            f"Could not save step {manifest.step}: {manifest.name} is no name of a checkpoint. "
            f"Expected a step from 0 to {MAX_STEP:,} and an attempt up to {MAX_ATTEMPT:,}.",
        )
    directory = layout.writing(manifest.attempt)
    # TensorFlow's own state file names this directory, which is about to be renamed.
    files.remove_file(directory / STATE_FILE)
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
        _discard_replaced(files, layout, manifest.name)
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
        _discard_replaced(files, layout, manifest.name)
        files.rename(target, layout.replaced(manifest.name))
    try:
        # COMMIT: from here on every reader sees the complete checkpoint.
        files.rename(directory, target)
    except (StorageError, RunLockedError):
        if layout.replaced(manifest.name).exists():
            files.unowned.rename(layout.replaced(manifest.name), target)
        raise


def remove_checkpoint(
    files: FileSystem,
    layout: RunLayout,
    name: CheckpointName,
    spared: Callable[[], bool] = lambda: False,
) -> bool:
    """Remove a checkpoint: first a rename hides it from readers, then its files are deleted.

    Args:
        files: how to change the disk.
        layout: the run.
        name: the checkpoint to remove.
        spared: returns whether the checkpoint was pinned since the decision. It is called after the
            rename. `pin` checks for the checkpoint after it has written the pin, so one of the two
            notices the other.

    Returns:
        Whether it was removed. A spared checkpoint gets its name back.

    Raises:
        StorageError: If the disk refuses.
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
    # This process lost the run between the two operations. The directory belongs to the new owner
    # now, which may be cleaning up already. So restore the name only if the checkpoint is complete.
    except RunLockedError:
        with suppress(OSError):
            if sorted(os.listdir(removing)) == whole:
                files.unowned.rename(removing, layout.checkpoint(name))
        raise
    return True


def _discard_replaced(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    """Remove a replaced checkpoint, under a name that recovery never restores.

    The removal may be interrupted. If the new checkpoint is removed later, an incomplete old one
    must not reappear.
    """
    if os.path.lexists(layout.replaced(name)):
        # The second save must be durable before the first one may be lost.
        files.sync_dir(layout.checkpoints)
        _remove_hidden(files, layout, layout.removing(name))
        files.rename(layout.replaced(name), layout.removing(name))
        _remove_hidden(files, layout, layout.removing(name))


def _remove_hidden(files: FileSystem, layout: RunLayout, path: Path) -> None:
    """Delete a hidden checkpoint, after its rename is durable.

    Otherwise a power loss could undo the rename but keep the deletion of files, which would leave
    an incomplete checkpoint.
    """
    if os.path.lexists(path):
        files.sync_dir(layout.checkpoints)
        files.remove_tree(path)


def clean_up(
    files: FileSystem,
    layout: RunLayout,
    own: int | None = None,
    attempt: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> list[str]:
    """Remove what killed saves and removals left behind; only the owner of a run may call this.

    Args:
        files: how to change the disk.
        layout: the run.
        own: the attempt whose unfinished saves are removed; None removes those of all attempts, as
            when a run is opened.
        attempt: a context that is entered for each change, with a description. If it suppresses an
            error, as `best_effort` does, the other changes are still made.

    Returns:
        A sentence for each change.

    Raises:
        StorageError: If the disk refuses.
    """
    done: list[str] = []
    for name in names_in(files, layout.checkpoints):
        # One by one: if one cannot be removed, such as another user's, the others still are.
        with attempt(f"remove the leftover {name}"):
            done += _clean_up_one(files, layout, layout.checkpoints / name, own)
    return done


def _clean_up_one(
    files: FileSystem, layout: RunLayout, path: Path, own: int | None
) -> Iterator[str]:
    """Remove or restore a leftover of a killed process; do nothing for other names."""
    if (number := writing_attempt(path.name)) is not None:
        if own in (None, number):
            _remove_hidden(files, layout, path)
            yield f"removed an unfinished save ({path.name})"
    elif is_removing(path.name):
        _remove_hidden(files, layout, path)
        yield f"finished a removal ({path.name})"
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
            yield f"restored {name}, because its replacement was not finished"


def set_aside(files: FileSystem, source: Path, target_dir: Path) -> Path:
    """Move a file or directory into `target_dir` under a free name; never overwrite anything.

    Returns:
        Its new path.

    Raises:
        StorageError: If the disk refuses.
    """
    files.make_dir(target_dir)
    # Durable first: a power loss must not undo the directory into which something is moved.
    files.sync_dir(target_dir.parent)
    for number in range(1, 1_000_000):
        target = target_dir / (source.name if number == 1 else f"{source.name}.{number}")
        if not target.exists():
            files.rename(source, target)
            files.sync_dir(
                target_dir
            )  # sync the new name first: after a power loss, two names are better than none
            files.sync_dir(source.parent)
            return target
    raise StorageError(
        f"{target_dir} contains a million entries named {source.name}: remove some of them."
    )
