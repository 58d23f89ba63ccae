"""Removes checkpoints, and the leftovers of killed saves and removals.

One rename hides a checkpoint from readers. The order of the steps matters; `docs/format.md` gives
the reason for each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from ckptkit.errors import RunLockedError
from ckptkit.layout import (
    STATE_FILE,
    CheckpointName,
    RunLayout,
    is_leaving_mark,
    is_removing,
    replaced_name,
    writing_attempt,
)
from ckptkit.storage.files import TEMPORARY, FileSystem, names_in, storage_errors


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
    remove_hidden(files, layout, removing)
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
        remove_hidden(files, layout, removing)
    # This process lost the run between the two operations. The directory belongs to the new owner
    # now, which may be cleaning up already. So restore the name only if the checkpoint is complete.
    except RunLockedError:
        with suppress(OSError):
            if sorted(os.listdir(removing)) == whole:
                files.unowned.rename(removing, layout.checkpoint(name))
        raise
    return True


def discard_replaced(files: FileSystem, layout: RunLayout, name: CheckpointName) -> None:
    """Remove a replaced checkpoint, under a name that recovery never restores.

    The removal may be interrupted. If the new checkpoint is removed later, an incomplete old one
    must not reappear.
    """
    if os.path.lexists(layout.replaced(name)):
        # The second save must be durable before the first one may be lost.
        files.sync_dir(layout.checkpoints)
        remove_hidden(files, layout, layout.removing(name))
        files.rename(layout.replaced(name), layout.removing(name))
        remove_hidden(files, layout, layout.removing(name))


def remove_hidden(files: FileSystem, layout: RunLayout, path: Path) -> None:
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
            remove_hidden(files, layout, path)
            yield f"removed an unfinished save ({path.name})"
    elif is_removing(path.name):
        remove_hidden(files, layout, path)
        yield f"finished a removal ({path.name})"
    elif (
        is_leaving_mark(path.name)
        or path.name == STATE_FILE + TEMPORARY
        or (path.name.startswith(".fence-") and path.name.endswith(TEMPORARY))
    ):
        files.remove_file(path)
    elif (name := replaced_name(path.name)) is not None:
        if layout.checkpoint(name).exists():
            discard_replaced(files, layout, name)
        else:
            files.rename(path, layout.checkpoint(name))
            yield f"restored {name}, because its replacement was not finished"
