"""One writer: taking a run, keeping it, and noticing that somebody else has it.

A claim (see `claims.py`) is free for the next process where its owner has let go of it, or has died
on this machine, which the kernel knows (`flock(2)` on the claim ends with the process, whatever the
way). An owner on another machine is watched: whoever leaves no new sign of life for as long as the
lease is taken for dead. Time is measured by the watcher's own clock only, so no two clocks have to
agree.

A process that was only stopped may wake up after that. It asks `check` before each change that it
makes, and what it commits between the question and the deed is shut out by the fence that its
successor has left (see `fence.py`). The same is known of leases elsewhere (Gray and Cheriton,
"Leases", 1989; the fencing token is the number of the claim).

A forked child closes its copy of the descriptor: an orphan must not keep its parent's run. That is
why no library's lock is used here: none gives the descriptor.
"""

from __future__ import annotations

import errno
import os
import threading
import uuid
import weakref
from contextlib import suppress

import msgspec

from ckptkit.clock import Clock
from ckptkit.errors import RunLockedError, StorageError
from ckptkit.layout import MAX_ATTEMPT, RunLayout
from ckptkit.log import logger
from ckptkit.ownership import process_lock
from ckptkit.ownership.claims import (
    ALIVE,
    OWNER,
    RELEASED,
    Claim,
    Owner,
    list_claims,
)
from ckptkit.ownership.machine import Machine, this_machine
from ckptkit.process_hooks import AfterFork, AtExit, after_fork, at_exit
from ckptkit.storage.files import FileSystem, storage_errors
from ckptkit.storage.symlinks import refuse_links
from ckptkit.threads import start_thread

BEAT_SECS = 5.0
"""How often an owner gives a sign of life."""

LEASE_SECS = 60.0
"""How long an owner on another machine has to be silent before its run may be taken."""

_LOOK_SECS = 1.0

_SIGN_SECS = 2.0
"""How long a sign of life may take before nobody waits for it; storage that is cut off never
answers.
"""

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


class RunLock:
    """The right to change one run, from when it is made until `release`.

    Nobody on another machine knows that this process lives before `keep_alive` is called. Claims of
    before stay until `settle` is called, when all is done that they are a reason for.

    Args:
        files: how to change the disk.
        layout: the run.
        clock: where the time comes from.
        at_least: the smallest number that the claim may have.
        machine: the one that this process runs on.
        take_over: whether a silent owner on another machine is watched, and followed; else it is
            taken to live.

    Attributes:
        number: of the claim; no other process has it, and no earlier one had a larger.
        silent: earlier owners that nobody knows to be dead: what they may still do has to be shut
            out.

    Raises:
        RunLockedError: where another process has it, with host, pid, and since when.
        StorageError: where the disk refuses.
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
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        refuse_links(layout)
        if layout.lock.is_file():
            files.remove_file(
                layout.lock
            )  # the form of an earlier version: a record of who came last
        files.make_dir(layout.lock)
        self.silent: list[Claim] = []
        try:
            while not self._claim(at_least):
                pass
        except BaseException:
            self.release()
            raise
        _held.add(self)

    def _claim(self, at_least: int) -> bool:
        """Takes the next number, where the last claim is free; False where somebody else was
        quicker, and is to be asked first.
        """
        claims = list_claims(self._layout)
        if claims and not self._becomes_free(claims[-1]):
            return False
        self.silent = [claim for claim in claims if self._may_live(claim)]
        self.number = max([at_least, *(claim.number + 1 for claim in claims)])
        if self.number > MAX_ATTEMPT:
            raise StorageError(
                errno.EOVERFLOW,
                f"{self._layout.root} has used attempt number {self.number - 1:,}, and there is "
                "none after it: look "
                f"for a name that does not belong there.",
            )
        self._path = self._layout.claim(self.number)
        if not self._make():
            return False
        self._files.sync_dir(self._layout.lock)
        if any(
            claim.number > self.number for claim in list_claims(self._layout)
        ):  # this number had been in use, and was cleared away
            self.drop()
            self._files.remove_tree(self._path)
            return False
        return True

    def _make(self) -> bool:
        """Makes the claim, whole and held from the first moment; False where its name is in use.

        A directory that is not empty is not replaced by a rename (`rename(2)`), so of several
        processes that try, one succeeds.
        """
        owner = Owner(
            host=self._machine.host,
            boot=self._machine.boot,
            pid=os.getpid(),
            since=self._clock.now(),
        )
        hidden = self._layout.lock / f".{uuid.uuid4().hex}"
        try:
            self._files.make_dir(hidden)
            self._files.create(hidden / OWNER, msgspec.json.encode(owner))
            self._files.create(hidden / ALIVE, _sign("0"))
            with storage_errors("lock", hidden):
                self._descriptor = process_lock.hold(hidden / OWNER)
            self._files.sync_dir(hidden)
            self._files.rename(hidden, self._path)
        except StorageError as error:
            self.drop()
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
                return False
            raise
        finally:
            with suppress(StorageError):
                self._files.remove_tree(hidden)
        return True

    def _may_live(self, claim: Claim) -> bool:
        """Whether nobody can know that the process that made a claim has ended."""
        if claim.sign == RELEASED:
            return False
        owner = claim.owner
        return (
            owner is None
            or not owner.machine.is_same(self._machine)
            or claim.is_held() is not False
        )

    def _becomes_free(self, claim: Claim) -> bool:
        """Returns when the last claim is free; False where it is not the last any more.

        Raises:
            RunLockedError: where its owner lives.
            StorageError: where it may not be read: then nobody knows.
        """
        with storage_errors("read", claim.sign_of_life):
            claim.check_permission()
        if not self._may_live(claim):
            return True
        owner, sign = claim.owner, claim.sign
        if not self._take_over or (
            owner is not None and owner.machine.is_same(self._machine) and claim.is_held()
        ):
            raise _locked(self._layout, owner)
        logger.warning(
            "the run was taken by %s, which has left no word of an end: watching for a sign of "
            "life for %g s, and taking it over where "
            "there is none",
            owner or "a process that its claim does not name",
            LEASE_SECS,
        )
        looks = 0
        while looks < LEASE_SECS / _LOOK_SECS:
            began = self._clock.monotonic()
            self._clock.sleep(_LOOK_SECS)
            if list_claims(self._layout)[-1:] != [claim]:
                return False
            if claim.sign == RELEASED:
                return True
            if claim.sign != sign:
                raise _locked(self._layout, owner)
            # Where a look takes long, the storage was away, and the owner's signs may be on their
            # way still.
            looks = looks + 1 if self._clock.monotonic() - began < 3 * _LOOK_SECS else 0
        return True

    def settle(self) -> None:
        """Removes earlier claims, and what dead claimants left; a live one tries again. What cannot
        be removed now, the next owner removes.
        """
        for claim in list_claims(self._layout):
            if claim.number < self.number:
                with suppress(StorageError):
                    self._files.remove_tree(claim.path)
        for path in self._layout.lock.glob(".*"):
            with suppress(StorageError):
                self._files.remove_tree(path)
        self.silent = []

    # -- while it is held

    def check(self) -> None:
        """Asks whether the run still belongs to this process.

        Raises:
            RunLockedError: where it does not.
            StorageError: where that cannot be read.
        """
        if self._descriptor < 0:
            raise RunLockedError(
                f"This process has let go of the run in {self._layout.root}, or is a copy (fork) "
                "of the one that has it. Expected "
                f"that only its owner changes it: open it again."
            )
        claims = list_claims(self._layout)
        if claims and claims[-1].number > self.number:
            raise RunLockedError(
                f"The run in {self._layout.root} was taken over by "
                f"{claims[-1].owner or 'another process'}, because this one had given no sign of "
                "life (was it stopped, or cut off from the storage?) or its claim was removed. "
                "Nothing of it is saved any more. Let the other one "
                f"go on; what this one has trained since its last checkpoint is lost."
            )
        if self.number not in [claim.number for claim in claims]:
            raise RunLockedError(
                f"The claim of this process, {self._path}, is gone: was the run moved, or its "
                "lock/ removed? Expected that a run "
                "stays where it is while it is trained. Nothing is saved any more; start again "
                "where the run is now."
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
            missed = 0 if self._give_sign(str(number)) else missed + 1
            if missed * BEAT_SECS == LEASE_SECS / 2:
                logger.warning(
                    "no sign of life could be written into %s for %g s: after %g s another "
                    "machine may take the run over",
                    self._path,
                    missed * BEAT_SECS,
                    LEASE_SECS,
                )

    def _give_sign(self, text: str) -> bool:
        """Writes in place, and not durably: it says something to the living only, and a full disk
        must not silence it.
        """
        try:
            descriptor = os.open(self._path / ALIVE, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.pwrite(descriptor, _sign(text), 0)
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    # -- the end

    def release(self) -> None:
        """Lets go; a second call does nothing."""
        if self._descriptor < 0:
            return
        self._over.set()
        if self._thread is not None:
            self._thread.join(_SIGN_SECS)  # its last sign does not come after ours
        self._give_sign(RELEASED)
        self.drop()
        _held.discard(self)

    def __del__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Lets go without a word, as the kernel does it for a process that ends."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _sign(text: str) -> bytes:
    return f"{text:<16}\n".encode()


def check_not_held(layout: RunLayout) -> None:
    """Asks whether a process of this machine has a run, and claims nothing.

    Raises:
        RunLockedError: where one has it.
    """
    for claim in list_claims(layout)[-1:]:
        owner = claim.owner
        if (
            owner is not None
            and owner.machine.is_same(this_machine())
            and claim.sign != RELEASED
            and claim.is_held()
        ):
            raise _locked(layout, owner)


def _locked(layout: RunLayout, owner: Owner | None) -> RunLockedError:
    return RunLockedError(
        f"The run in {layout.root} is being trained by {owner or 'another process'}. Expected "
        "that nobody else writes to it. "
        f"Stop that process, or wait until it ends, or name another directory."
    )


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock.drop()


def _at_exit() -> None:
    for lock in list(_held):
        lock.release()


after_fork(AfterFork.LOCKS, _after_fork_in_child)
at_exit(AtExit.LOCKS, _at_exit)
