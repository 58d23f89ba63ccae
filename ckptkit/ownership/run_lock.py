"""One writer: taking a run, keeping it, and noticing that another process has taken it.

The last claim (see `claims.py`) has to be free before the next process may follow it. It is free if
its owner has released it, or has died on this machine. The kernel knows the latter: `flock(2)` on
the claim ends with the process, however it ends. An owner on another machine is watched: if it
leaves no new sign of life for the whole lease, it is taken for dead. The watcher measures time by
its own clock only, so no two clocks have to agree.

A process that was only stopped may wake up after that. It asks `check` before each change that it
makes. What it commits between the question and the change is shut out by the fence that its
successor has left (see `fence.py`). This is a lease with a fencing token (Gray and Cheriton,
"Leases", 1989); the token is the number of the claim.

A forked child closes its copy of the descriptor: an orphan must not keep its parent's run. That is
why no library's lock is used here: none gives access to the descriptor.
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
from ckptkit.ownership.machine import Machine, this_machine
from ckptkit.process_hooks import AfterFork, AtExit, after_fork, at_exit
from ckptkit.storage.files import NO_SPACE, FileSystem, names_in, storage_errors
from ckptkit.storage.symlinks import refuse_links
from ckptkit.threads import start_thread

BEAT_SECS = 5.0
"""How often an owner gives a sign of life."""

LEASE_SECS = 60.0
"""How long an owner on another machine has to be silent before its run may be taken."""

_LOOK_SECS = 1.0

_TRY_SECS, _MAX_TRIES = 0.05, 100
"""For a claim that is to be reused and that another process holds for a moment."""

_SPACE_TRIES = 20
"""How often a disk without space is asked again, `_TRY_SECS` apart."""

_SIGN_SECS = 2.0
"""How long `release` waits for a sign of life that is being written. Storage that is cut off never
answers.
"""

_open_locks: weakref.WeakSet[RunLock] = weakref.WeakSet()
"""The locks that this process holds; a fork drops them in the child, and an exit releases them."""


class RunLock:
    """The right to change one run, from its construction until `release`.

    Processes on other machines take this one for silent until `keep_alive` is called. Earlier
    claims stay until `settle` is called, after everything is done that they are a reason for.

    Args:
        files: how to change the disk.
        layout: the run.
        clock: the source of time.
        at_least: the smallest number that the claim may have.
        machine: the one that this process runs on; by default it is asked for.
        take_over: whether a silent owner on another machine is watched and followed. If not, it
            counts as running.

    Attributes:
        number: of the claim. No other process has it, and no earlier one had a larger one.
        silent: earlier owners that nobody knows to be dead. What they may still commit has to be
            shut out by a fence.

    Raises:
        RunLockedError: If another process owns the run; the message names host, pid and since when.
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
                # Without any claim there is none to reuse. What dead saves left is the only space
                # that can be had before the run is ours.
                remove_dead_saves(self._files, self._layout)
                # Space comes back a moment after a removal, and another claimant may be removing
                # the same saves just now.
                if tries_left < _SPACE_TRIES:
                    self._clock.sleep(_TRY_SECS)
            else:
                return

    def _try_to_acquire(self, at_least: int) -> None:
        if self._layout.lock.is_file():
            # An earlier version kept a record of the last owner in a file of this name.
            self._files.remove_file(self._layout.lock)
        self._files.make_dir(self._layout.lock)
        while not self._claim(at_least):
            pass

    def _claim(self, at_least: int) -> bool:
        """Takes the next number if the last claim is free.

        Returns:
            False if another process was quicker; then its claim has to be looked at first.
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
                f"{self._layout.root} has used attempt number {self.number - 1:,}, and there is "
                "none after it: look for a name that does not belong there.",
            )
        self._path = self._layout.claim(self.number)
        descriptor = self._make(claims[-1] if claims else None)
        if descriptor is None:
            return False
        self._descriptor = descriptor
        try:
            self._files.sync_dir(self._layout.lock)
        except BaseException:
            # Kept, it would lock this process out when it tries again. Not removed: its record may
            # say that a fence is missing.
            with suppress(StorageError):
                give_sign(self._path, RELEASED)
            self.drop()
            raise
        # If this number had been used before and was cleared away meanwhile, a higher one exists.
        if any(claim.number > self.number for claim in list_claims(self._layout, self._files)):
            self.drop()
            self._files.remove_tree(self._path)
            return False
        return True

    def _make(self, previous: Claim | None) -> int | None:
        """Makes the claim, if need be from the files of the previous one.

        Returns:
            The descriptor that holds the kernel's lock; None if another process was quicker.
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
                # Its directory is what tells the next owner that a fence is missing. From now on
                # this claim's own record does.
                owner = replace(owner, unfenced=True)
                place = self.silent.index(previous)
                self.silent[place] = replace(previous, remembered=previous.owner)
            try:
                return reuse_claim(self._files, self._layout, previous, self.number, owner)
            except StorageError as error:
                if list_claims(self._layout, self._files)[-1:] != [previous]:
                    return None  # another claimant renamed it under our hands
                if error.errno == errno.EWOULDBLOCK:
                    # Another process looks at this claim, or is about to reuse it.
                    self._tries += 1
                    if self._tries > _MAX_TRIES:
                        raise locked_error(self._layout, previous.owner) from error
                    self._clock.sleep(_TRY_SECS)
                    return None
                raise full from error

    def _may_be_running(self, claim: Claim) -> bool:
        """Whether nobody can know that the process that made a claim has ended."""
        if claim.sign == RELEASED:
            return False
        owner = claim.owner
        return (
            owner is None
            or not owner.machine.is_same(self._machine)
            or claim.is_held() is not False
        )

    def _is_unfenced(self, claim: Claim) -> bool:
        """Whether a claim took the place of a silent owner's, and its process put up no fence."""
        owner, fence = claim.owner, self._layout.fence(claim.number)
        if owner is None or not owner.unfenced:
            return False
        with storage_errors("look for", fence):
            return self._files.status(fence) is None

    def _becomes_free(self, claim: Claim) -> bool:
        """Returns when the last claim is free; False if it is not the last one any more.

        Raises:
            RunLockedError: If its owner is running.
            StorageError: If it may not be read: then nobody knows.
        """
        with storage_errors("read", claim.sign_of_life):
            claim.check_permission()
        if not self._may_be_running(claim):
            return True
        owner, sign = claim.owner, claim.sign
        if list_claims(self._layout, self._files)[-1:] != [claim]:
            return False  # reused by another claimant, so what was read is of no use
        if not self._take_over or (
            owner is not None and owner.machine.is_same(self._machine) and claim.is_held()
        ):
            raise locked_error(self._layout, owner)
        logger.warning(
            "the run was taken by %s, which has not released it: watching for a sign of life for "
            "%g s, and taking it over if there is none",
            owner or "a process that its claim does not name",
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
            # A look that takes long means that the storage was away. The owner's signs may still be
            # on their way, so the watch begins again.
            looks = looks + 1 if self._clock.monotonic() - began < 3 * _LOOK_SECS else 0
        return True

    def settle(self) -> None:
        """Removes earlier claims, and what dead claimants left; a running one tries again.

        What cannot be removed now, the next owner removes.
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
        """Checks that the run still belongs to this process.

        Raises:
            RunLockedError: If it does not.
            StorageError: If that cannot be read.
        """
        if self._descriptor < 0:
            raise RunLockedError(
                f"This process has released the run in {self._layout.root}, or is a copy (fork) "
                "of the one that owns it. Expected that only its owner changes it: open it again."
            )
        claims = list_claims(self._layout, self._files)
        if claims and claims[-1].number > self.number:
            raise RunLockedError(
                f"The run in {self._layout.root} was taken over by "
                f"{claims[-1].owner or 'another process'}, because this one had given no sign of "
                "life (was it stopped, or cut off from the storage?) or its claim was removed. "
                "Nothing of it is saved any more. Let the other one continue; what this one has "
                "trained since its last checkpoint is lost."
            )
        if self.number not in [claim.number for claim in claims]:
            raise RunLockedError(
                f"The claim of this process, {self._path}, is gone: was the run moved, or its "
                "lock/ removed? Expected that a run stays in its place while it is trained. "
                "Nothing is saved any more; start again in the run's present place."
            )

    def keep_alive(self) -> None:
        """Starts the thread that gives signs of life until the release or the process's end.

        Raises:
            ThreadRefusedError: If the system allows no further thread. The run is released then:
                without signs of life, another machine would take it from under this process.
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
        """Releases the run; a second call does nothing."""
        if self._descriptor < 0:
            return
        self._over.set()
        if self._thread is not None:
            # Its last sign must not come after ours.
            self._thread.join(_SIGN_SECS)
        give_sign(self._path, RELEASED)
        self.drop()
        _open_locks.discard(self)

    def __del__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Lets the kernel's lock go without a sign, as it happens when a process is killed."""
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
