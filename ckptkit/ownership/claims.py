"""Reads and makes claims: directories in `lock/` that say which process owns a run.

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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec

from ckptkit.errors import RunLockedError, StorageError
from ckptkit.layout import RunLayout, claim_number, writing_attempt
from ckptkit.log import logger
from ckptkit.ownership import kernel_lock
from ckptkit.ownership.machine_identity import Machine, this_machine
from ckptkit.storage.files import DISK, FileSystem, names_in, storage_errors
from ckptkit.storage.json_bytes import json_bytes

OWNER, ALIVE = "owner.json", "alive"
_MOST_BYTES = 64 * 1024
RELEASED = "released"
"""The last sign of life of an owner that has released the run."""


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
            `reuse_claim`.
        device, inode: the numbers of the claim's directory, as the owner's kernel gives them; 0 in
            claims of earlier versions.
    """

    host: str
    boot: str
    pid: int
    since: float
    unfenced: bool = False
    device: int = 0
    inode: int = 0

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
        number: the number of the claim, which is also that of the attempt.
        path: its directory.
        files: how to read it.
        remembered: the owner, kept in memory because the directory is about to become another
            claim.
    """

    number: int
    path: Path
    files: FileSystem = field(default=DISK, compare=False, repr=False)
    remembered: Owner | None = field(default=None, compare=False)

    @property
    def owner(self) -> Owner | None:
        """The process that made the claim, or None if its record cannot be read."""
        if self.remembered is not None:
            return self.remembered
        try:
            owner = msgspec.json.decode(
                self.files.read_bounded(self.path / OWNER, _MOST_BYTES), type=Owner
            )
            str(owner)  # a time that no calendar has is also damage
        except (OSError, ValueError, OverflowError, RecursionError):
            return None
        return owner

    @property
    def sign_of_life(self) -> Path:
        return self.path / ALIVE

    @property
    def sign(self) -> str:
        """The last sign of life of its owner; empty if it cannot be read."""
        try:
            data = self.files.read_bounded(self.sign_of_life, _MOST_BYTES)
        except OSError:
            return ""
        return data.decode(errors="replace").strip()

    def check_permission(self) -> None:
        """Check that this process may read the claim's signs of life.

        Raises:
            PermissionError: If it may not.
        """
        try:
            self.files.read_bounded(self.sign_of_life, _MOST_BYTES)
        except PermissionError:
            raise
        except OSError:
            return

    def is_held(self) -> bool | None:
        """Whether a process that this kernel knows holds the lock on the claim; see `is_running`.

        Returns:
            None if the kernel cannot tell.
        """
        return kernel_lock.is_held(self.path / OWNER)

    def is_running(self, here: Machine) -> bool | None:
        """Whether the process that made the claim is running, as far as this kernel can prove that.

        A process in another container on the same kernel has another host name, and its lock is
        seen. That nobody holds the lock is a proof only if both see the same file: each mount of a
        FUSE or network file system may have locks of its own. Equal numbers of the device and the
        directory prove that, and so does the same name of the machine.

        Args:
            here: the machine that this process runs on.

        Returns:
            None if nothing is proven.
        """
        owner = self.owner
        if owner is None:
            return True if self.is_held() else None  # a process that lives, by any name
        if not owner.machine.is_same_kernel(here):
            return None
        held = self.is_held()
        if held is False and not (owner.machine.is_same(here) or self._is_where(owner)):
            return None
        return held

    def _is_where(self, owner: Owner) -> bool:
        """Whether its directory is the very one that its owner made."""
        try:
            found = self.files.status(self.path)
        except OSError:
            return False
        return found is not None and (found.st_dev, found.st_ino) == (owner.device, owner.inode)


def encode_owner(owner: Owner) -> bytes:
    """Return the content of `owner.json`, with the field `unfenced` only if it is true."""
    fields = asdict(owner)
    if not owner.unfenced:
        del fields["unfenced"]
    return json_bytes(fields)


def encode_sign(text: str) -> bytes:
    """Return the content of `alive`; its length is constant, to rewrite it in place."""
    return f"{text:<16}\n".encode()


def give_sign(claim: Path, text: str) -> bool:
    """Write a sign of life into a claim; return whether that succeeded.

    It bypasses `FileSystem` and is not synced, because a full disk or a slow sync must not prevent
    it. It is rewritten in place for the same reason.
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
    """Return all claims on a run, oldest first.

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
    """Check that no process of this machine owns a run, without claiming it.

    Raises:
        RunLockedError: If a process of this machine owns it.
    """
    for claim in list_claims(layout)[-1:]:
        if claim.sign != RELEASED and claim.is_running(this_machine()):
            raise locked_error(layout, claim.owner)


def locked_error(layout: RunLayout, owner: Owner | None) -> RunLockedError:
    """Return the error for a run that another process owns."""
    return RunLockedError(
        f"The run in {layout.root} is being trained by {owner or 'another process'}. Only one "
        f"process may write into it. Stop that process, or wait until it ends, or name another "
        f"directory."
    )


_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT})
"""The errors of a rename if another process has taken the name first."""


def make_claim(files: FileSystem, layout: RunLayout, number: int, owner: Owner) -> int | None:
    """Make a claim that is complete and locked from the first moment.

    A rename does not replace a directory that is not empty (`rename(2)`). So if several processes
    try the same number, one succeeds.

    Args:
        files: how to change the disk.
        layout: the run.
        number: of the new claim.
        owner: this process.

    Returns:
        The descriptor that holds the kernel lock; None if another process took the number first.

    Raises:
        StorageError: If the disk refuses; no claim is left behind then.
    """
    hidden = layout.lock / f".{uuid.uuid4().hex}"
    descriptor = -1
    try:
        files.make_dir(hidden)
        files.create(hidden / OWNER, encode_owner(_placed(owner, hidden)))
        files.create(hidden / ALIVE, encode_sign("0"))
        with storage_errors("lock", hidden):
            descriptor = kernel_lock.hold(hidden / OWNER)
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


def _placed(owner: Owner, directory: Path) -> Owner:
    """Return the owner with the numbers of its claim's directory, which a rename keeps."""
    with storage_errors("look at", directory):
        found = os.stat(directory)
    return replace(owner, device=found.st_dev, inode=found.st_ino)


def _rename(files: FileSystem, source: Path, target: Path) -> bool:
    """Give a claim its name; return False if another process took the name first."""
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
    """Turn the previous claim, which is free, into the claim of this process; needs no space.

    Args:
        files: how to change the disk.
        layout: the run.
        previous: the last claim. Its owner is dead, has released it, or was silent for the whole
            lease.
        number: of the new claim.
        owner: this process.

    Returns:
        The descriptor that holds the kernel lock; None if another process took the number first.

    Raises:
        StorageError: If the disk refuses, or another process has locked the claim (`EWOULDBLOCK`).
    """
    with storage_errors("lock", previous.path):
        descriptor = kernel_lock.hold(previous.path / OWNER)
    try:
        # The lock was taken by path. If another process has renamed the directory meanwhile, the
        # locked claim is not the last one any more.
        if list_claims(layout, files)[-1:] != [previous]:
            os.close(descriptor)
            return None
        # First the content, then the name: as long as the old name is there, others on this machine
        # see a claim that is held. The other order would show our number with the old owner's
        # `released`, and another process would take the run from us.
        owner = _placed(owner, previous.path)
        files.overwrite(previous.path / OWNER, encode_owner(owner))
        files.overwrite(previous.path / ALIVE, encode_sign("0"))
        won = _rename(files, previous.path, layout.claim(number))
    except BaseException:
        os.close(descriptor)
        raise
    # On a network file system, a process on another machine may have written into the same files
    # before it lost the rename. Then this claim may contain the wrong owner, so it is not usable.
    if not won or Claim(number, layout.claim(number), files).owner != owner:
        os.close(descriptor)
        return None
    return descriptor


def remove_dead_saves(files: FileSystem, layout: RunLayout) -> None:
    """Remove unfinished saves of a run without a usable claim, to make room for a claim.

    A process claims the run before it begins a save, and its claim stays as long as it may change
    the run. So the claims are listed after the saves. If there is no claim, no process is writing
    these saves, and no later process uses their numbers again.

    Raises:
        StorageError: If the disk refuses.
    """
    names = names_in(files, layout.checkpoints)
    if list_claims(layout, files):
        return
    for name in [name for name in names if writing_attempt(name) is not None]:
        files.remove_tree(layout.checkpoints / name)
        logger.info("removed an unfinished save (%s): the disk had no room for a claim", name)
