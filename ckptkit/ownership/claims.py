"""Claims on a run: who owns it, with a sign of life; reading them, and making one.

`lock/` holds one claim for each process that took the run, numbered upwards. The highest number
owns the run. A claim is a directory that appears complete, under a name that only one process can
give. It contains who made it, and a sign of life that its owner changes every few seconds.

Normally a claim is a new directory, which appears by one rename. That needs three free inodes and
two free blocks. A disk that a dead save has filled has neither, and only the owner of a run may
remove what dead saves left. So on a full disk the previous claim becomes the new one: its files are
rewritten in place and its directory is renamed to the next number. Neither needs any space.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from ckptkit.errors import RunLockedError, StorageError
from ckptkit.layout import RunLayout, claim_number, writing_attempt
from ckptkit.log import logger
from ckptkit.ownership import process_lock
from ckptkit.ownership.machine import Machine, this_machine
from ckptkit.storage.files import DISK, FileSystem, names_in, storage_errors

OWNER, ALIVE = "owner.json", "alive"
_MOST_BYTES = 64 * 1024
RELEASED = "released"
"""The last sign of life: the run is free."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that made a claim.

    Args:
        host: name of the machine.
        boot: the kernel's number of its start; empty if it is not known.
        pid: number of the process.
        since: when it took the run, in seconds since the epoch.
        unfenced: whether this claim was made from the files of a silent owner's claim, which may
            still be running and is not shut out before the fence of this number exists. See
            `claims.py`.
    """

    host: str
    boot: str
    pid: int
    since: float
    unfenced: bool = False

    @property
    def machine(self) -> Machine:
        return Machine(self.host, self.boot)

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


@dataclass(frozen=True)
class Claim:
    """A claim in `lock/`.

    Args:
        number: of the claim, which is that of the attempt.
        path: its directory.
        files: how it is read.
        remembered: the owner, if the directory is about to become another claim.
    """

    number: int
    path: Path
    files: FileSystem = field(default=DISK, compare=False, repr=False)
    remembered: Owner | None = field(default=None, compare=False)

    @property
    def owner(self) -> Owner | None:
        """The process that made it, or None if its record cannot be read."""
        if self.remembered is not None:
            return self.remembered
        try:
            owner = msgspec.json.decode(
                self.files.read_bounded(self.path / OWNER, _MOST_BYTES), type=Owner
            )
            str(owner)  # a time that no calendar has is damage, too
        except (OSError, ValueError, OverflowError, RecursionError):
            return None
        return owner

    @property
    def sign_of_life(self) -> Path:
        return self.path / ALIVE

    @property
    def sign(self) -> str:
        """What its owner wrote last as a sign of life; empty if it cannot be read."""
        try:
            data = self.files.read_bounded(self.sign_of_life, _MOST_BYTES)
        except OSError:
            return ""
        return data.decode(errors="replace").strip()

    def check_permission(self) -> None:
        """Checks that its signs of life may be read.

        Raises:
            PermissionError: If they may not.
        """
        try:
            self.files.read_bounded(self.sign_of_life, _MOST_BYTES)
        except PermissionError:
            raise
        except OSError:
            return

    def is_held(self) -> bool | None:
        """Whether the process that made it is running, by the lock that the kernel holds for it.

        Only for a claim of this machine.

        Returns:
            None if the kernel cannot tell.
        """
        return process_lock.is_held(self.path / OWNER)


def encode_owner(owner: Owner) -> bytes:
    """The content of `owner.json`; the field `unfenced` is there only if it is true."""
    fields = asdict(owner)
    if not owner.unfenced:
        del fields["unfenced"]
    return msgspec.json.encode(fields)


def encode_sign(text: str) -> bytes:
    """The content of `alive`: always of one length, so that it is rewritten in place."""
    return f"{text:<16}\n".encode()


def give_sign(claim: Path, text: str) -> bool:
    """Write a sign of life into a claim; return whether that succeeded.

    Not through `FileSystem`, and without a sync: a sign is for processes that run now, and a full
    disk or a slow sync must not silence it. It is rewritten in place for the same reason.
    """
    try:
        descriptor = os.open(claim / ALIVE, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.pwrite(descriptor, encode_sign(text), 0)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def list_claims(layout: RunLayout, files: FileSystem = DISK) -> list[Claim]:
    """All claims, oldest first.

    Raises:
        StorageError: If the directory cannot be read.
    """
    with storage_errors("list", layout.lock):
        try:
            names = files.list_dir(layout.lock)
        except (FileNotFoundError, NotADirectoryError):
            return []
    numbers = {name: number for name in names if (number := claim_number(name)) is not None}
    return [
        Claim(number, layout.lock / name, files)
        for name, number in sorted(numbers.items(), key=lambda item: item[1])
    ]


def check_not_held(layout: RunLayout) -> None:
    """Checks that no process of this machine owns a run; claims nothing.

    Raises:
        RunLockedError: If one does.
    """
    for claim in list_claims(layout)[-1:]:
        owner = claim.owner
        if (
            owner is not None
            and owner.machine.is_same(this_machine())
            and claim.sign != RELEASED
            and claim.is_held()
        ):
            raise locked_error(layout, owner)


def locked_error(layout: RunLayout, owner: Owner | None) -> RunLockedError:
    """Return the error for a run that another process owns."""
    return RunLockedError(
        f"The run in {layout.root} is being trained by {owner or 'another process'}. Expected "
        "that nobody else writes to it. "
        f"Stop that process, or wait until it ends, or name another directory."
    )


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
