"""The mirror during one session: upload threads, waiting, and the end."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ckptkit.errors import BackgroundSaveError, CheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.mirror.mirror_settings import Mirror
from ckptkit.mirror.obstore_client import ObstoreObjects
from ckptkit.mirror.run_mirror import RunMirror
from ckptkit.mirror.store_claim import StoreClaimHolder
from ckptkit.mirror.upload_plan import decide_upload
from ckptkit.mirror.uploader import PATIENCE_SECS, Uploader
from ckptkit.ownership.claims import Owner, list_claims
from ckptkit.ownership.machine_identity import this_machine
from ckptkit.process_hooks import AtExit, at_exit
from ckptkit.run import events

if TYPE_CHECKING:
    from ckptkit.clock import Clock
    from ckptkit.mirror.objects import Objects
    from ckptkit.policies import KeepPolicy
    from ckptkit.run.journal import Journal
    from ckptkit.storage.files import FileSystem

_MARGIN_SECS = 1.0

_open_sessions: set[MirrorSession] = set()


class MirrorSession:
    """The mirror of a run in one session, from before the run is locked to its end.

    The methods are called in their order: `look` before anything is changed, `claim` while the run
    is locked, `start` before training, `close` at the end.

    Args:
        settings: where the run is copied to.
        layout: the run.
        files: how to change the disk.
        clock: the source of time.
        objects: the store; by default a client for the URL is made.
    """

    def __init__(
        self,
        settings: Mirror,
        layout: RunLayout,
        files: FileSystem,
        clock: Clock,
        objects: Objects | None = None,
    ) -> None:
        self._settings, self._layout, self._files = settings, layout, files
        made = objects or ObstoreObjects(settings.place, settings.options)
        self._mirror = RunMirror(settings, made, layout, files, clock)
        self._dead: dict[int, Owner | None] = {}
        self._deadline: float | None = None
        self._uploader: Uploader | None = None
        self._journal: Journal | None = None
        self._least = 0
        self._pid = os.getpid()

    def look(self) -> int:
        """Check the place; see `RunMirror.look`."""
        self._least = self._mirror.look()
        here = this_machine()
        self._dead = {
            claim.number: claim.owner
            for claim in list_claims(self._layout, self._files)
            if claim.is_running(here) is False  # which only the kernel can prove
        }
        return self._least

    def claim(self, number: int, resources: ExitStack) -> None:
        """Take the run on the store, and fetch what is missing; see `RunMirror.claim`.

        Args:
            number: the number of the claim in the directory, which this process holds.
            resources: receives the release of the run on the store.
        """
        try:
            dead = self._dead.get(self._least - 1)
            # Signs of life from the first moment on: to fetch a checkpoint may take long.
            self._mirror.claim(number, dead, StoreClaimHolder.keep_alive)
        finally:
            if hasattr(self._mirror, "holder"):
                resources.callback(self._mirror.release)

    def start(self, journal: Journal, keep: KeepPolicy, resources: ExitStack) -> None:
        """Start to upload; the run is open, and its journal has begun.

        Args:
            journal: the journal of the attempt.
            keep: the keep policy of the run.
            resources: receives the end of the threads.

        Raises:
            RunLockedError: If another process has taken the run.
            StorageError: If the store does not answer.
            ThreadRefusedError: If the system allows no further thread.
        """
        # A fresh start has acted since the claim. Its record travels with the small files, so that
        # an empty machine knows of it only after the earlier life is out of the way.
        self._mirror.set_aside()
        for fetched in self._mirror.fetched:
            journal.record(fetched)
        self._journal = journal
        mirror = self._mirror
        self._uploader = Uploader(
            self._layout,
            mirror.commits,
            mirror.small_files,
            mirror.holder,
            journal,
            keep if self._settings.keep is None else self._settings.keep,
            mirror.unsent,
        )
        resources.callback(self._close)
        _open_sessions.add(self)
        self._uploader.start()
        self._uploader.notify()

    def check(self) -> None:
        """Check that no upload has found another owner; asks nobody.

        Raises:
            RunLockedError: If another process has taken the run on the store.
        """
        if self._uploader is not None and self._uploader.lost is not None:
            raise self._uploader.lost

    def notify(self) -> None:
        """Note that a checkpoint was committed."""
        if self._uploader is not None:
            self._uploader.notify()

    def wait(self, timeout_secs: float | None = None) -> None:
        """Wait until the store has the newest checkpoint; see `Uploader.wait`."""
        if self._uploader is not None:
            self._uploader.wait(timeout_secs)

    # -- the end

    def finish(self) -> None:
        """Wait for the last upload at the end of training.

        Raises:
            BackgroundSaveError: If it failed, and the mirror is required.
            RunLockedError: If another process has taken the run on the store.
        """
        try:
            self._announce()
            self.wait()
        except BackgroundSaveError as error:
            if self._settings.required:
                raise
            logger.warning("%s", error)

    def finish_in_time(self, left_secs: float | None) -> None:
        """Wait for the last upload before the machine goes away, if there is enough time.

        A failure is logged: the process ends as preempted, whatever happens here.

        Args:
            left_secs: seconds until the machine goes away; None if unknown.
        """
        uploader, journal = self._uploader, self._journal
        if uploader is None or journal is None:
            return
        left = None if left_secs is None else max(left_secs - _MARGIN_SECS, 0.0)
        began = time.monotonic()
        self._deadline = None if left is None else began + left
        try:
            decision = decide_upload(
                left_secs=left,
                size_bytes=uploader.unsent_bytes(),
                bytes_per_sec=min(uploader.speeds, default=None),
            )
            action = "upload" if decision.action == "save" else decision.action
            journal.record(events.UploadDecided(action=action, reason=decision.reason))
            if decision.action != "save":
                logger.warning("the newest checkpoint is not uploaded: %s", decision.reason)
                return
            self._announce()
            uploader.wait(left)
        except CheckpointError as error:
            logger.warning("after %.1f s: %s", time.monotonic() - began, error)

    def _announce(self) -> None:
        """Log that the end waits, before it does."""
        if self._uploader is not None and (missing := self._uploader.missing_name()):
            logger.info("waiting until %s is on %s", missing, self._settings.url)

    def close_at_exit(self) -> None:
        """Close a run that the program has never closed."""
        if os.getpid() == self._pid:
            self._close()
            self._mirror.release()

    def _close(self) -> None:
        _open_sessions.discard(self)
        uploader = self._uploader
        assert uploader is not None
        if self._deadline is None:
            uploader.close()
        else:
            uploader.close(min(max(self._deadline - time.monotonic(), 0.0), PATIENCE_SECS))
        if uploader.is_working:
            # The next owner waits for silence then, and shares no files that are being uploaded.
            self._mirror.holder.keeps = True
            logger.warning(
                "an upload to %s does not end, so the run there is not released", self._settings.url
            )
        elif uploader.lost is None:
            self._upload_the_rest()
        if uploader.lost is None:
            self._tell_what_is_missing(uploader)

    def _upload_the_rest(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return
        try:
            self._mirror.small_files.upload()
        except StorageError as error:
            logger.warning("the end of the journal was not uploaded: %s", error)

    def _tell_what_is_missing(self, uploader: Uploader) -> None:
        try:
            missing = uploader.missing_name()
        except StorageError as error:
            logger.debug("what %s does not have is not known: %s", self._settings.url, error)
            return
        if missing is not None:
            logger.warning(
                "%s is in %s only, and not on %s. If the directory stays, the next start sends it",
                missing,
                self._layout.root,
                self._settings.url,
            )


def _at_exit() -> None:
    for session in list(_open_sessions):
        session.close_at_exit()


at_exit(AtExit.MIRRORS, _at_exit)
