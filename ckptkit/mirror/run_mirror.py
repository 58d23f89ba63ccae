"""Opens the mirror of a run: looks first, then claims, fetches, and uploads behind training."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
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
    check_not_trained_elsewhere,
    local_identity,
    note_claim,
    probe,
    settle_identity,
)
from ckptkit.mirror.store_layout import CLAIMS, COMMITS, CommitName, number_of
from ckptkit.mirror.stored_commits import StoredCommits, commit_names, differs, read_fences
from ckptkit.mirror.visible_commits import StartDecision, decide_start, is_shut_out, visible
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_names
from ckptkit.run.fresh_start_records import read_records
from ckptkit.storage.files import FileSystem, names_in

if TYPE_CHECKING:
    from ckptkit.clock import Clock
    from ckptkit.mirror.mirror_settings import Mirror
    from ckptkit.mirror.objects import Objects
    from ckptkit.mirror.store_records import Commit, StoreFence
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
        self._fences: dict[int, StoreFence] = {}
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
            ConfigError: If something else is there, two lives of the run have diverged, the
                seeds differ, or the store cannot tell which of two machines was first.
            CorruptCheckpointError: If a fence is damaged.
            StorageError: If the store does not answer, or refuses.
        """
        place = self.settings.url
        keys = self._objects.sizes("")
        known, here = local_identity(self._layout, self._files), self._local()
        local = known.run if known else None
        stored = check_identity(self._objects, place, keys, local, here)
        self._identity = stored, local if stored in (None, local) else None
        claims = (number_of(key) for key in keys if key.startswith(CLAIMS))
        self._highest = max((number for number in claims if number is not None), default=0)
        check_not_trained_elsewhere(self._layout, place, known, self._highest, here)
        if stored is None:
            probe(self._objects, place, versioned=self.settings.versioned)
        else:
            self.small_files.check_seed()
            self._decide([key for key in keys if key.startswith(COMMITS)])
        return self._highest + 1

    def _decide(self, keys: Collection[str]) -> StartDecision:
        fences = self._fences = read_fences(self._objects, self._fences)
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

    def claim(
        self,
        number: int,
        dead: Owner | None = None,
        on_taken: Callable[[StoreClaimHolder], None] = lambda _: None,
    ) -> None:
        """Take the run on the store, and fetch what the directory does not have.

        Args:
            number: the number of the attempt.
            dead: the owner of the directory's claim with the number of the store's highest claim,
                if the kernel knows that it has ended.
            on_taken: called when the run on the store is taken, before anything is fetched.

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
            self._objects,
            self._layout,
            self._files,
            self._clock,
            stored=stored,
            local=local,
            number=number,
        )
        secs = float(self.settings.takeover_secs)
        self.holder = StoreClaimHolder(self._objects, number, self._clock, secs)
        self.holder.take(self._highest, after_silence=silent)
        on_taken(self.holder)
        note_claim(self._layout, self._files, number)
        with self.holder.asks_if_missing():
            self._settle(number)

    def _settle(self, number: int) -> None:
        self.commits = StoredCommits(self._objects, self.holder, self._clock)
        self.small_files.attempt = number
        self.small_files.fetch()
        names = commit_names(self._objects.sizes(COMMITS))
        # The commits first: a fence that is created in between knows more than this listing.
        self._fences = read_fences(self._objects, self._fences)
        self.commits.load(visible(names, self._fences))
        self.set_aside()
        decision = self._decide(list(self._objects.sizes(COMMITS)))
        here = self._local()
        again = self._saved_again(here)
        self.unsent = decision.unsent | again.keys() - self._may_count(again.values())
        held = {name for name in here if self.commits.find(name) is None} | again.keys()
        # What this attempt resumes from is part of its life, even if the store never gets it.
        resumed = set() if decision.fetch else set(here[-1:])
        self.commits.write_fence((held - self.unsent) | (held & resumed))
        self.small_files.upload_seed()
        if decision.fetch:
            self._fetch_newest(number)
        count = self.commits.sweep()
        if count:
            logger.info(
                "deleted %d objects that dead processes left at %s", count, self.settings.url
            )

    def _saved_again(self, names: Collection[CheckpointName]) -> dict[CheckpointName, CommitName]:
        """Return the next commit of each checkpoint of which the store has an earlier save only."""
        found = {}
        for name in names:
            commit = self.commits.find(name)
            if commit is not None and differs(self._layout.checkpoint(name), commit):
                found[name] = CommitName(name, commit.name.revision + 1)
        return found

    def _may_count(self, names: Collection[CommitName]) -> set[CheckpointName]:
        return {name.checkpoint for name in names if not is_shut_out(name, self._fences)}

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
        try:
            fetch_checkpoint(self._objects, commit, self._files, self._layout, number)
        except CorruptCheckpointError as error:
            # Bytes may be damaged on their way. What is whole on the store is not moved away.
            logger.warning("%s It is fetched again.", error)
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

    def _set_aside_here(self, names: Collection[CommitName]) -> list[CommitName]:
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
