"""Claims on a run as they are stored: who owns it, and a sign of life.

`lock/` holds one claim for each process that took the run, numbered upwards. The highest number
owns the run. A claim is a directory that appears complete, under a name that only one process can
give. It contains who made it, and a sign of life that its owner changes every few seconds.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from ckptkit.errors import RunLockedError
from ckptkit.layout import RunLayout, claim_number
from ckptkit.ownership import process_lock
from ckptkit.ownership.machine import Machine, this_machine
from ckptkit.storage.files import DISK, FileSystem, storage_errors

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
            `new_claim.py`.
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
