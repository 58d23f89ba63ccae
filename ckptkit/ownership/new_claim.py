"""Making the claim of a process that takes a run, also on a disk that has no space left.

Normally a claim is a new directory, which appears by one rename. That needs three free inodes and
two free blocks. A disk that a dead save has filled has neither, and only the owner of a run may
remove what dead saves left. So on a full disk the previous claim becomes the new one: its files are
rewritten in place and its directory is renamed to the next number. Neither needs any space.
"""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout, writing_attempt
from ckptkit.log import logger
from ckptkit.ownership import process_lock
from ckptkit.ownership.claims import (
    ALIVE,
    OWNER,
    Claim,
    Owner,
    encode_owner,
    encode_sign,
    list_claims,
)
from ckptkit.storage.files import FileSystem, names_in, storage_errors

_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT})
"""Errors of a rename that another claimant has won."""


def make_claim(files: FileSystem, layout: RunLayout, number: int, owner: Owner) -> int | None:
    """Makes a claim, complete and locked from the first moment.

    A rename does not replace a directory that is not empty (`rename(2)`), so of several processes
    that try the same number, one succeeds.

    Args:
        files: how to change the disk.
        layout: the run.
        number: of the new claim.
        owner: this process.

    Returns:
        The descriptor that holds the kernel's lock; None if another process took the number first.

    Raises:
        StorageError: If the disk refuses. No claim is left then.
    """
    hidden = layout.lock / f".{uuid.uuid4().hex}"
    descriptor = -1
    try:
        files.make_dir(hidden)
        files.create(hidden / OWNER, encode_owner(owner))
        files.create(hidden / ALIVE, encode_sign("0"))
        with storage_errors("lock", hidden):
            descriptor = process_lock.hold(hidden / OWNER)
        files.sync_dir(hidden)
        won = _rename(files, hidden, layout.claim(number))
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        raise
    finally:
        with suppress(StorageError):
            files.remove_tree(hidden)
    if not won:
        os.close(descriptor)
    return descriptor if won else None


def _rename(files: FileSystem, source: Path, target: Path) -> bool:
    """Gives a claim its name; returns False if another claimant was quicker."""
    try:
        files.rename(source, target)
    except StorageError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def reuse_claim(
    files: FileSystem, layout: RunLayout, previous: Claim, number: int, owner: Owner
) -> int | None:
    """Turns the previous claim, which is free, into the claim of this process. Needs no space.

    Args:
        files: how to change the disk.
        layout: the run.
        previous: the last claim. The caller knows that its owner is dead, has released it, or has
            been silent for the whole lease.
        number: of the new claim.
        owner: this process.

    Returns:
        As `make_claim`.

    Raises:
        StorageError: If the disk refuses, or another process holds or inspects the claim
            (`EWOULDBLOCK`).
    """
    with storage_errors("lock", previous.path):
        descriptor = process_lock.hold(previous.path / OWNER)
    try:
        # The lock was asked for by path. If another claimant renamed the directory in between, this
        # is the lock of a claim that is no longer the last one.
        if list_claims(layout, files)[-1:] != [previous]:
            os.close(descriptor)
            return None
        # First the content, then the name: as long as the old name is there, others on this machine
        # see a claim that is held. The other order would show our number with the old owner's
        # `released`, and another process would take the run from us.
        files.overwrite(previous.path / OWNER, encode_owner(owner))
        files.overwrite(previous.path / ALIVE, encode_sign("0"))
        won = _rename(files, previous.path, layout.claim(number))
    except BaseException:
        os.close(descriptor)
        raise
    # On a network file system, a claimant on another machine may have written into the same files
    # and lost the rename. Then its name may stand in our claim, which is of no use to anybody.
    if not won or Claim(number, layout.claim(number), files).owner != owner:
        os.close(descriptor)
        return None
    return descriptor


def remove_dead_saves(files: FileSystem, layout: RunLayout) -> None:
    """Removes the unfinished saves of a run that has no usable claim, to make room for one.

    A process claims the run before it begins a save, and its claim stays for as long as it may
    change the run. So the claims are listed after the saves: if there is none, nobody writes the
    saves that were listed before, and no later process uses their numbers again.

    Raises:
        StorageError: If the disk refuses.
    """
    names = names_in(files, layout.checkpoints)
    if list_claims(layout, files):
        return
    for name in [name for name in names if writing_attempt(name) is not None]:
        files.remove_tree(layout.checkpoints / name)
        logger.info("removed an unfinished save (%s): the disk had no room for a claim", name)
