"""The lock of a run: takes it, keeps it, and notices if another process has taken it over.

The last claim (see `claims.py`) has to be free before the next process may follow it. It is free if
its owner has released it, or has died on this kernel. The kernel knows the latter: `flock(2)` on
the claim ends with the process, however it ends, and is held by a process that is stopped. Only an
owner of which this kernel proves nothing is watched: if it leaves no new sign of life for the whole
lease, it is taken for dead. The watcher measures time by its own clock only, so no two clocks have
to agree.

A process that was only paused may continue after that. It calls `check` before each change. A
commit between this check and the change is hidden by the fence of the next owner (see
`late_checkpoint_fence.py`).

This is a lease with a fencing token (Gray and Cheriton, "Leases", 1989); the token is the number of
the claim.

A forked child closes its copy of the descriptor, so that it does not keep its parent's run locked.
No lock library is used, because none gives access to the descriptor.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from contextlib import suppress
from dataclasses import replace

from ckptkit.clock import Clock
from ckptkit.errors import RunLockedError, StorageError
from ckptkit.layout import MAX_ATTEMPT, RunLayout
from ckptkit.log import logger
from ckptkit.ownership.claims import (
    RELEASED,
    Claim,
    Owner,
    give_sign,
    list_claims,
    locked_error,
    make_claim,
    remove_dead_saves,
    reuse_claim,
)
from ckptkit.ownership.machine_identity import Machine, this_machine
from ckptkit.process_hooks import AfterFork, AtExit, after_fork, at_exit
from ckptkit.storage.files import NO_SPACE, FileSystem, names_in, storage_errors
from ckptkit.storage.symlinks import refuse_links
from ckptkit.threads import start_thread

BEAT_SECS = 5.0
"""Seconds between two signs of life of an owner."""

LEASE_SECS = 60.0
"""Seconds without a sign of life after which another machine's run may be taken over."""

_LOOK_SECS = 1.0

_TRY_SECS, _MAX_TRIES = 0.05, 100
"""Seconds between tries, and their number, to reuse a claim that another process holds for a
moment."""

_SPACE_TRIES = 20
"""The number of tries on a disk without space, `_TRY_SECS` apart."""

_SIGN_SECS = 2.0
"""Seconds that `release` waits for a sign of life in progress, because storage may never answer.
"""

_open_locks: weakref.WeakSet[RunLock] = weakref.WeakSet()
"""The locks that this process holds; a forked child drops them, and an exit releases them."""


class RunLock:
    """The exclusive right to change a run, from construction until `release`.

    Call `keep_alive` to give signs of life, or other machines may take over the run. Earlier claims
    stay until `settle` is called, because recovery needs them.

    Args:
        files: how to change the disk.
        layout: the run.
        clock: the source of time.
        at_least: the smallest number that the claim may have.
        machine: the machine of this process; by default it is looked up.
        take_over: whether to watch a silent owner on another machine and then take over the run; if
            not, that owner counts as running.

    Attributes:
        number: the number of the claim, larger than all earlier ones.
        silent: earlier owners that may still run. A fence has to hide their later commits.

    Raises:
        RunLockedError: If another process owns the run; the message names host, pid and time.
        StorageError: If the disk refuses.
    """

    _descriptor = -1

    def __init__(
        self,
        files: FileSystem,
        layout: RunLayout,
        clock: Clock,
        *,
        at_least: int = 1,
        machine: Machine | None = None,
        take_over: bool = True,
    ) -> None:
        self._files, self._layout, self._clock = files, layout, clock
        self._machine = machine or this_machine()
        self._take_over = take_over
        self._tries = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.silent: list[Claim] = []
        refuse_links(layout)
        try:
            self._acquire(at_least)
        except BaseException:
            self.release()
            raise
        _open_locks.add(self)

    # -- taking the run

    def _acquire(self, at_least: int) -> None:
        for tries_left in range(_SPACE_TRIES, -1, -1):
            try:
                self._try_to_acquire(at_least)
            except StorageError as error:
                if error.errno not in NO_SPACE or not tries_left:
                    raise
                # Without any claim there is none to reuse. Before the run is owned, only leftovers
                # of killed saves can be removed to get space.
                remove_dead_saves(self._files, self._layout)
                # Space is free only a moment after a removal, and another process may be removing
                # the same saves now.
                if tries_left < _SPACE_TRIES:
                    self._clock.sleep(_TRY_SECS)
            else:
                return

    def _try_to_acquire(self, at_least: int) -> None:
        if self._layout.lock.is_file():
            # Earlier versions recorded the last owner in a file of this name.
            self._files.remove_file(self._layout.lock)
        self._files.make_dir(self._layout.lock)
        while not self._claim(at_least):
            pass

    def _claim(self, at_least: int) -> bool:
        """Take the next number if the last claim is free.

        Returns:
            False if another process took the number first, so that its claim has to be examined.
        """
        claims = list_claims(self._layout, self._files)
        if claims and not self._becomes_free(claims[-1]):
            return False
        self.silent = [
            claim for claim in claims if self._may_be_running(claim) or self._is_unfenced(claim)
        ]
        self.number = max([at_least, *(claim.number + 1 for claim in claims)])
        if self.number > MAX_ATTEMPT:
            raise StorageError(
                errno.EOVERFLOW,
                f"{self._layout.root} has used attempt number {self.number - 1:,}, the largest "
                f"possible one. Look for a file or directory with a wrong name there.",
            )
        self._path = self._layout.claim(self.number)
        descriptor = self._make(claims[-1] if claims else None)
        if descriptor is None:
            return False
        self._descriptor = descriptor
        try:
            self._files.sync_dir(self._layout.lock)
        except BaseException:
            # Unlocked, or it would block this process when it tries again. Not removed, because its
            # record may say that a fence is missing.
            with suppress(StorageError):
                give_sign(self._path, RELEASED)
            self.drop()
            raise
        # If this number was used before and removed meanwhile, a higher number exists.
        if any(claim.number > self.number for claim in list_claims(self._layout, self._files)):
            self.drop()
            self._files.remove_tree(self._path)
            return False
        return True

    def _make(self, previous: Claim | None) -> int | None:
        """Make the claim; on a full disk, from the files of the previous claim.

        Returns:
            The descriptor that holds the kernel lock; None if another process took the number
                first.
        """
        owner = Owner(
            host=self._machine.host,
            boot=self._machine.boot,
            pid=os.getpid(),
            since=self._clock.now(),
        )
        try:
            return make_claim(self._files, self._layout, self.number, owner)
        except StorageError as full:
            if previous is None or full.errno not in NO_SPACE:
                raise
            logger.debug("no space for a claim, so %s is reused: %s", previous.path, full)
            if previous in self.silent:
                # Until now the old claim's directory showed that a fence is missing. From now on
                # this claim's record shows it.
                owner = replace(owner, unfenced=True)
                place = self.silent.index(previous)
                self.silent[place] = replace(previous, remembered=previous.owner)
            try:
                return reuse_claim(self._files, self._layout, previous, self.number, owner)
            except StorageError as error:
                if list_claims(self._layout, self._files)[-1:] != [previous]:
                    return None  # another process has renamed it meanwhile
                if error.errno == errno.EWOULDBLOCK:
                    # Another process is checking this claim, or is about to reuse it.
                    self._tries += 1
                    if self._tries > _MAX_TRIES:
                        raise locked_error(self._layout, previous.owner) from error
                    self._clock.sleep(_TRY_SECS)
                    return None
                raise full from error

    def _may_be_running(self, claim: Claim) -> bool:
        """Whether nobody can know that the process that made a claim has ended."""
        return claim.sign != RELEASED and claim.is_running(self._machine) is not False

    def _is_unfenced(self, claim: Claim) -> bool:
        """Return whether a claim replaced a silent owner's claim without writing a fence."""
        owner, fence = claim.owner, self._layout.fence(claim.number)
        if owner is None or not owner.unfenced:
            return False
        with storage_errors("look for", fence):
            return self._files.status(fence) is None

    def _becomes_free(self, claim: Claim) -> bool:
        """Wait until the last claim is free; return False if it is not the last one any more.

        Raises:
            RunLockedError: If its owner is running.
            StorageError: If the claim may not be read.
        """
        with storage_errors("read", claim.sign_of_life):
            claim.check_permission()
        if not self._may_be_running(claim):
            return True
        owner, sign = claim.owner, claim.sign
        if list_claims(self._layout, self._files)[-1:] != [claim]:
            return False  # reused by another claimant, so what was read is of no use
        if not self._take_over or claim.is_running(self._machine):
            raise locked_error(self._layout, owner)
        logger.warning(
            "the run is owned by %s, which has not released it: waiting %g s for a sign of life, "
            "and taking over the run if none comes",
            owner or "an unknown process",
            LEASE_SECS,
        )
        looks = 0
        while looks < LEASE_SECS / _LOOK_SECS:
            began = self._clock.monotonic()
            self._clock.sleep(_LOOK_SECS)
            if list_claims(self._layout, self._files)[-1:] != [claim]:
                return False
            if claim.sign == RELEASED:
                return True
            if claim.sign != sign:
                raise locked_error(self._layout, owner)
            # A slow check means that the storage did not answer. The owner's signs of life may be
            # delayed too, so the wait begins again.
            looks = looks + 1 if self._clock.monotonic() - began < 3 * _LOOK_SECS else 0
        return True

    def settle(self) -> None:
        """Remove earlier claims and leftovers of dead processes.

        The next owner removes whatever cannot be removed now. A running process that loses its
        unfinished claim here tries again.
        """
        for claim in list_claims(self._layout, self._files):
            if claim.number < self.number:
                with suppress(StorageError):
                    self._files.remove_tree(claim.path)
        for name in names_in(self._files, self._layout.lock):
            if name.startswith("."):
                with suppress(StorageError):
                    self._files.remove_tree(self._layout.lock / name)
        self.silent = []

    # -- keeping it

    def check(self) -> None:
        """Check that this process still owns the run.

        Raises:
            RunLockedError: If it does not.
            StorageError: If the claims cannot be read.
        """
        if self._descriptor < 0:
            raise RunLockedError(
                f"This process has released the run in {self._layout.root}, or is a forked copy "
                f"of its owner. Only the owner may change a run: open it again."
            )
        claims = list_claims(self._layout, self._files)
        if claims and claims[-1].number > self.number:
            raise RunLockedError(
                f"The run in {self._layout.root} was taken over by "
                f"{claims[-1].owner or 'another process'}, because this process gave no sign of "
                f"life (was it paused, or cut off from the storage?) or its claim was removed. "
                f"This process saves nothing any more. Let the other process continue; the "
                f"training of this process since its last checkpoint is lost."
            )
        if self.number not in [claim.number for claim in claims]:
            raise RunLockedError(
                f"The claim of this process, {self._path}, is gone: was the run moved, or its "
                f"lock/ removed? A run has to stay in its place during training. Nothing is saved "
                f"any more; start again with the current path of the run."
            )

    def keep_alive(self) -> None:
        """Start the thread that gives signs of life until the run is released or the process ends.

        Raises:
            ThreadRefusedError: If the system allows no further thread. The run is released then,
                because without signs of life another machine would take it over.
        """
        try:
            self._thread = start_thread(self._beat, "ckptkit-lock")
        except BaseException:
            self.release()
            raise

    def _beat(self) -> None:
        number = missed = 0
        while not self._over.wait(BEAT_SECS):
            number += 1
            missed = 0 if give_sign(self._path, str(number)) else missed + 1
            if missed * BEAT_SECS == LEASE_SECS / 2:
                logger.warning(
                    "no sign of life could be written into %s for %g s: after %g s another "
                    "machine may take the run over",
                    self._path,
                    missed * BEAT_SECS,
                    LEASE_SECS,
                )

    # -- the end

    def release(self) -> None:
        """Release the run; a second call does nothing."""
        if self._descriptor < 0:
            return
        self._over.set()
        if self._thread is not None:
            # The thread's last sign must not overwrite the release.
            self._thread.join(_SIGN_SECS)
        give_sign(self._path, RELEASED)
        self.drop()
        _open_locks.discard(self)

    def __del__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Drop the kernel lock without releasing the run, as if the process were killed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _after_fork_in_child() -> None:
    for lock in list(_open_locks):
        lock.drop()


def _at_exit() -> None:
    for lock in list(_open_locks):
        lock.release()


after_fork(AfterFork.LOCKS, _after_fork_in_child)
at_exit(AtExit.LOCKS, _at_exit)
