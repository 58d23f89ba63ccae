"""The claim of a process on a mirrored run: takes it, keeps it, and notices if it is lost.

Claims are numbered objects that are created once. The highest number has the run. They are never
deleted: a stopped process that wakes up could otherwise create a number again. Each owner
overwrites a second object every few seconds. Another process takes the run over if that object has
not changed for the whole lease, measured by its own clock, so no two clocks have to agree.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ckptkit.clock import Clock
from ckptkit.errors import CorruptCheckpointError, RunLockedError, StorageError
from ckptkit.log import logger
from ckptkit.mirror.create_once import create_once
from ckptkit.mirror.objects import ObjectMissingError, Objects
from ckptkit.mirror.store_layout import CLAIMS, alive_key, claim_key, number_of
from ckptkit.mirror.store_records import StoreClaim, decode_record, encode_record
from ckptkit.ownership.claims import Owner
from ckptkit.ownership.machine_identity import this_machine
from ckptkit.threads import start_thread

RELEASED = b"released"
LEASE_SECS = 60.0
_LOOKS = 12
"""How often the sign of life is read during one lease."""

_JOIN_SECS = 10.0


def claim_numbers(objects: Objects) -> list[int]:
    """Return the numbers of all claims, ascending.

    Raises:
        StorageError: If the store does not answer.
    """
    names = objects.sizes(CLAIMS)
    return sorted(number for key in names if (number := number_of(key)) is not None)


def wait_until_free(objects: Objects, number: int, clock: Clock, dead: Owner | None = None) -> bool:
    """Wait until a claim may be followed: it was released, or its owner was silent for its lease.

    Args:
        objects: the store.
        number: the number of the highest claim.
        clock: the source of time.
        dead: a process that this machine's kernel knows to have ended.

    Returns:
        Whether the owner was silent, so that it may still be running.

    Raises:
        RunLockedError: If the owner is alive.
        StorageError: If the store does not answer.
    """
    owner = read_claim(objects, number)
    if owner and dead and (dead.host, dead.boot, dead.pid) == (owner.host, owner.boot, owner.pid):
        return False
    lease_secs = owner.lease_secs if owner else LEASE_SECS
    first = _sign(objects, number)
    if first == RELEASED:
        return False
    logger.info(
        "the run on the object store belongs to %s: waiting for a sign of life, at most %.0f s",
        owner or "an unknown process",
        lease_secs,
    )
    looks = 0
    while looks < _LOOKS:
        began = clock.monotonic()
        clock.sleep(lease_secs / _LOOKS)
        sign = _sign(objects, number)
        if sign == RELEASED:
            return False
        if sign != first:
            raise RunLockedError(
                f"The run on the object store is being trained by {owner or 'another process'}. "
                "Only one process may write it. Stop that process, or wait until it ends, or name "
                "another prefix."
            )
        # After a slow answer the wait begins again: the owner's signs of life may be slow too.
        looks = looks + 1 if clock.monotonic() - began < 3 * lease_secs / _LOOKS else 0
    return True


def read_claim(objects: Objects, number: int) -> StoreClaim | None:
    """Return who has made a claim; None if its record is damaged."""
    key = claim_key(number)
    try:
        return decode_record(objects.read(key), StoreClaim, key)
    except (CorruptCheckpointError, ObjectMissingError):
        return None


def _sign(objects: Objects, number: int) -> bytes:
    try:
        return objects.read(alive_key(number))
    except ObjectMissingError:  # its owner died at once, or is about to write it
        return b""


class StoreClaimHolder:
    """The claim of this process.

    Args:
        objects: the store.
        number: the number of the claim, larger than all earlier ones.
        clock: the source of time.
        lease_secs: after how many seconds of silence another machine may take the run over.

    Attributes:
        shares_from: see `StoreClaim`.
        keeps: whether `release` leaves the claim as it is, because a thread may still upload.
    """

    def __init__(self, objects: Objects, number: int, clock: Clock, lease_secs: float) -> None:
        self._objects, self._clock = objects, clock
        self.number, self.lease_secs = number, lease_secs
        self.shares_from = 1
        self.keeps = False
        self._beats = 0
        self._is_taken = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, highest: int, *, after_silence: bool = False) -> None:
        """Create the claim.

        The number after the highest one is created first, even if this claim is larger. So of
        several processes that have seen the same claims, only one gets any number.

        Args:
            highest: the highest claim, which is free; 0 if there is none.
            after_silence: whether its owner was only silent.

        Raises:
            RunLockedError: If another process was faster.
            StorageError: If the store does not answer.
        """
        machine = this_machine()
        before = read_claim(self._objects, highest) if highest and not after_silence else None
        if highest:
            self.shares_from = before.shares_from if before else highest + 1
        for number in sorted({highest + 1, self.number}):
            claim = StoreClaim(
                host=machine.host,
                boot=machine.boot,
                pid=os.getpid(),
                since=self._clock.now(),
                lease_secs=self.lease_secs,
                nonce=uuid.uuid4().hex,
                shares_from=self.shares_from,
            )
            key, data = claim_key(number), encode_record(claim)
            if not create_once(self._objects, key, data, self._clock):
                self._raise_lost(number)
        self._is_taken = True
        self.check()
        self.beat()

    def check(self) -> None:
        """Check that no other process has taken the run over.

        Raises:
            RunLockedError: If another process has.
            StorageError: If the store does not answer.
        """
        newest = max(claim_numbers(self._objects), default=0)
        if newest != self.number:
            self._raise_lost(newest)

    @contextmanager
    def asks_if_missing(self) -> Iterator[None]:
        """Turn a missing object in the block into the loss of the run, if that is the reason.

        A new owner deletes what an earlier one has not committed.

        Raises:
            RunLockedError: If an object is missing, and another process has taken the run.
        """
        try:
            yield
        except ObjectMissingError:
            self.check()
            raise

    def _raise_lost(self, newest: int) -> None:
        owner = read_claim(self._objects, newest) if newest else None
        raise RunLockedError(
            f"Another process has taken the run on the object store: {owner or 'unknown'}. It "
            f"resumed from what was uploaded by then (claim {newest}, this process has "
            f"{self.number}). Nothing of this process counts there any more; stop it."
        )

    def beat(self) -> None:
        """Give a sign of life.

        Raises:
            StorageError: If the store does not answer.
        """
        self._beats += 1
        self._objects.put(alive_key(self.number), f"{self._beats}".encode())

    def keep_alive(self) -> None:
        """Start the thread that gives signs of life until the run is released.

        Raises:
            ThreadRefusedError: If the system allows no further thread.
        """
        self._thread = start_thread(self._beat_on, "ckptkit-mirror-beat")

    def _beat_on(self) -> None:
        misses = 0
        while not self._over.wait(self.lease_secs / 4):
            try:
                self.beat()
                misses = 0
            except Exception as error:
                misses += 1
                logger.debug("sign of life %d to the object store failed: %s", misses, error)

    def release(self) -> None:
        """Release the run, so that the next process does not have to wait.

        Does nothing if this process never had the claim: the number is then another process's.
        """
        self._over.set()
        if self._thread is not None:
            # Its last sign must not overwrite the release.
            self._thread.join(_JOIN_SECS)
        if self._is_taken and not self.keeps:
            with suppress(StorageError):
                self._objects.put(alive_key(self.number), RELEASED)
