"""Claims on a run, as they lie on the disk: who has it, and a sign of life.

`lock/` holds one claim for each process that took the run, numbered upwards; the highest one has
it. A claim is a directory that appears whole, under a name that only one process can give; in it
lie who made it, and a sign of life that its owner changes every few seconds.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ckptkit.layout import RunLayout, claim_number
from ckptkit.ownership import process_lock
from ckptkit.ownership.machine import Machine
from ckptkit.storage.files import storage_errors

OWNER, ALIVE = "owner.json", "alive"
RELEASED = "released"
"""The last sign: the run is free."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who made a claim.

    Args:
        host: name of the machine.
        boot: the number of its kernel's start; empty where that is not known.
        pid: number of the process.
        since: when it took the run, in seconds since the epoch.
    """

    host: str
    boot: str
    pid: int
    since: float

    @property
    def machine(self) -> Machine:
        return Machine(self.host, self.boot)

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


@dataclass(frozen=True)
class Claim:
    """A claim that lies in `lock/`.

    Args:
        number: of the claim, which is that of the attempt.
        path: its directory.
    """

    number: int
    path: Path

    @property
    def owner(self) -> Owner | None:
        """Who made it, or None where that is not told."""
        try:
            owner = msgspec.json.decode(process_lock.read_small(self.path / OWNER), type=Owner)
            str(owner)
        except (
            OSError,
            ValueError,
            OverflowError,
            RecursionError,
        ):  # a time that no calendar has is no owner's
            return None
        return owner

    @property
    def sign_of_life(self) -> Path:
        return self.path / ALIVE

    @property
    def sign(self) -> str:
        """What its owner wrote last as a sign of life; empty where there is none."""
        try:
            return process_lock.read_small(self.sign_of_life).decode(errors="replace").strip()
        except OSError:
            return ""

    def check_permission(self) -> None:
        """Checks that its signs of life may be read.

        Raises:
            PermissionError: where they may not.
        """
        try:
            process_lock.read_small(self.sign_of_life)
        except PermissionError:
            raise
        except OSError:
            return

    def is_held(self) -> bool | None:
        """Whether the process that made it still lives, by the lock that its kernel holds for it;
        None where the kernel cannot tell.

        Only for a claim of this machine.
        """
        return process_lock.is_held(self.path / OWNER)


def list_claims(layout: RunLayout) -> list[Claim]:
    """All claims, oldest first.

    Raises:
        StorageError: where the directory cannot be read.
    """
    with storage_errors("list", layout.lock):
        try:
            names = os.listdir(layout.lock)
        except (FileNotFoundError, NotADirectoryError):
            return []
    numbers = {name: number for name in names if (number := claim_number(name)) is not None}
    return [
        Claim(number, layout.lock / name)
        for name, number in sorted(numbers.items(), key=lambda item: item[1])
    ]
