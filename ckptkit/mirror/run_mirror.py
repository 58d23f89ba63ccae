"""Opens the mirror of a run: looks first, then claims, fetches, and uploads behind training."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.log import logger, size
from ckptkit.mirror import store_layout
from ckptkit.mirror.checkpoint_fetch import fetch_checkpoint
from ckptkit.mirror.small_files import SmallFiles
from ckptkit.mirror.store_claim import StoreClaimHolder, wait_until_free
from ckptkit.mirror.store_identity import (
    check_identity,
    local_identity,
    probe,
    settle_identity,
)
from ckptkit.mirror.store_layout import CLAIMS, COMMITS, number_of
from ckptkit.mirror.stored_commits import StoredCommits, commit_names, list_visible, read_fences
from ckptkit.mirror.visible_commits import StartDecision, decide_start, visible
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_names
from ckptkit.run.fresh_start_records import read_records
from ckptkit.storage.files import FileSystem, names_in

if TYPE_CHECKING:
    from ckptkit.clock import Clock
    from ckptkit.mirror.mirror_settings import Mirror
    from ckptkit.mirror.objects import Objects
    from ckptkit.mirror.store_records import Commit
    from ckptkit.ownership.claims import Owner


class RunMirror:
    """The mirror of one run, as its owner uses it until training begins.

    Args:
        settings: where the run is copied to.
        objects: the store.
        layout: the run.
        files: how to change the disk.
        clock: the source of time.

    Attributes:
        commits: the commits on the store, after `claim`.
        small_files: the small files of the run.
        holder: the claim of this process, after `claim`.
        unsent: checkpoints of the directory that readers of the store would not see.
        fetched: what `claim` has fetched, for the journal.
    """

    def __init__(
        self,
        settings: Mirror,
        objects: Objects,
        layout: RunLayout,
        files: FileSystem,
        clock: Clock,
    ) -> None:
        self.settings, self._objects = settings, objects
        self._layout, self._files, self._clock = layout, files, clock
        self._highest = 0
        self._identity: tuple[str | None, str | None] = (None, None)
        self.small_files = SmallFiles(objects, layout, files)
        self.commits: StoredCommits
        self.holder: StoreClaimHolder
        self.unsent: frozenset[CheckpointName] = frozenset()
        self.fetched: list[events.FetchedFromStore] = []

    # -- before the run is locked

    def look(self) -> int:
        """Check the place on the store without changing anything there or in the directory.

        Returns:
            The smallest number that the attempt may have.

        Raises:
            ConfigError: If something else is there, two lives of the run have diverged, or the
                store cannot tell which of two machines was first.
            CorruptCheckpointError: If a fence is damaged.
            StorageError: If the store does not answer, or refuses.
        """
        place = self.settings.url
        keys = self._objects.sizes("")
        local, here = local_identity(self._layout, self._files), self._local()
        stored = check_identity(self._objects, place, keys, local, here)
        self._identity = stored, local
        if stored is None:
            probe(self._objects, place, versioned=self.settings.versioned)
        else:
            self._decide([key for key in keys if key.startswith(COMMITS)])
        claims = (number_of(key) for key in keys if key.startswith(CLAIMS))
        self._highest = max((number for number in claims if number is not None), default=0)
        return self._highest + 1

    def _decide(self, keys: Collection[str]) -> StartDecision:
        fences = read_fences(self._objects)
        on_store = visible(commit_names(keys), fences)
        gone = self._set_aside_here(on_store)
        decision = decide_start(
            self._local(), [name for name in on_store if name not in gone], fences
        )
        if decision.diverged:
            lost = ", ".join(map(str, decision.diverged))
            raise ConfigError(
                f"The run has two lives. {self._layout.root} has {lost}, and the run at "
                f"{self.settings.url} was resumed without it on another machine and has "
                f"{on_store[-1].checkpoint}. Nothing was changed. To continue the one on the "
                "object store, name an empty directory. To continue the one in this directory, "
                "delete mirror.json in it and name another prefix."
            )
        return decision

    def _local(self) -> list[CheckpointName]:
        return list_names(self._layout, self._files)

    # -- while the run is locked

    def claim(self, number: int, dead: Owner | None = None) -> None:
        """Take the run on the store, and fetch what the directory does not have.

        Args:
            number: the number of the attempt.
            dead: the owner of the directory's claim with the number of the store's highest claim,
                if the kernel knows that it has ended.

        Raises:
            ConfigError: If another run has taken the place, or two lives have diverged.
            RunLockedError: If another machine has the run.
            StorageError: If the store does not answer, or the disk refuses.
        """
        silent = False
        if self._highest:
            silent = wait_until_free(self._objects, self._highest, self._clock, dead)
            if silent:
                logger.warning("took the run at %s over from a silent owner", self.settings.url)
        # Before the claim: a process that is killed in between leaves a place that it knows again.
        stored, local = self._identity
        settle_identity(
            self._objects, self._layout, self._files, self._clock, stored=stored, local=local
        )
        secs = float(self.settings.takeover_secs)
        self.holder = StoreClaimHolder(self._objects, number, self._clock, secs)
        self.holder.take(self._highest)
        with self.holder.asks_if_missing():
            self._settle(number, silent)

    def _settle(self, number: int, silent: bool) -> None:
        self.commits = StoredCommits(self._objects, self.holder, self._clock)
        self.commits.after_silence = silent
        self.small_files.fetch()
        self.commits.load(list_visible(self._objects))
        self.set_aside()
        decision = self._decide(list(self._objects.sizes(COMMITS)))
        self.unsent = decision.unsent
        self.commits.write_fence([name for name in self._local() if name not in self.unsent])
        if decision.fetch:
            self._fetch_newest(number)
        count = self.commits.sweep()
        if count:
            logger.info(
                "deleted %d objects that dead processes left at %s", count, self.settings.url
            )

    def _fetch_newest(self, number: int) -> None:
        """Fetch the newest good checkpoint, if the directory has no newer one.

        Raises:
            CorruptCheckpointError: If the store has checkpoints, but all are damaged, and the
                directory has none.
        """
        damage: CorruptCheckpointError | None = None
        local = self._local()
        for commit in reversed(self.commits.commits):
            name = commit.name.checkpoint
            if local and (name.attempt, name.step) <= max((n.attempt, n.step) for n in local):
                return
            try:
                self._fetch(commit, number)
                return
            except CorruptCheckpointError as error:
                damage = error
                logger.warning(
                    "%s It is moved to %s there, and the one before is tried.",
                    error,
                    store_layout.QUARANTINE,
                )
                self.commits.set_aside(name, store_layout.QUARANTINE)
        if damage is not None and not local:
            raise damage

    def _fetch(self, commit: Commit, number: int) -> None:
        began = time.monotonic()
        fetch_checkpoint(self._objects, commit, self._files, self._layout, number)
        secs = time.monotonic() - began
        logger.info(
            "fetched %s from %s (%s in %.1f s)",
            commit.name.checkpoint,
            self.settings.url,
            size(commit.manifest.size_bytes),
            secs,
        )
        self.fetched.append(
            events.FetchedFromStore(
                checkpoint=str(commit.name.checkpoint),
                size_bytes=commit.manifest.size_bytes,
                secs=secs,
            )
        )

    # -- decisions that were made in the directory

    def set_aside(self) -> None:
        """Move commits to `aside/` that the directory has set aside: by a fresh start or rollback.

        Raises:
            RunLockedError: If another process has taken the run.
            StorageError: If the store does not answer, or the disk refuses.
        """
        for name in self._set_aside_here([each.name for each in self.commits.commits]):
            self.commits.set_aside(name.checkpoint, store_layout.ASIDE)
            logger.info("set %s aside at %s", name.checkpoint, self.settings.url)

    def _set_aside_here(
        self, names: Collection[store_layout.CommitName]
    ) -> list[store_layout.CommitName]:
        """Return those commits that a fresh start or a rollback of this directory has set aside."""
        records = read_records(self._layout, self._files)
        began = max((record.attempt for record in records), default=0)
        aside = {
            name
            for directory in names_in(self._files, self._layout.aside)
            for name in names_in(self._files, self._layout.aside / directory)
        }
        here = set(self._local())
        return [
            each
            for each in names
            if each.checkpoint.attempt < began
            or (str(each.checkpoint) in aside and each.checkpoint not in here)
        ]

    def release(self) -> None:
        """Release the run on the store."""
        self.holder.release()
