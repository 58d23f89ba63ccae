"""Uploads checkpoints behind training, on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial

from ckptkit.errors import (
    BackgroundSaveError,
    CheckpointError,
    CorruptCheckpointError,
    RunLockedError,
)
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.log import logger, size
from ckptkit.mirror.small_files import SmallFiles
from ckptkit.mirror.store_claim import StoreClaimHolder
from ckptkit.mirror.stored_commits import StoredCommits, differs
from ckptkit.mirror.upload_plan import to_remove, to_upload
from ckptkit.ownership.reader_leases import held, is_leaving
from ckptkit.policies import Candidate, KeepPolicy
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint, candidate_of, list_checkpoints, list_names
from ckptkit.run.journal import Journal
from ckptkit.run.pins import pinned
from ckptkit.threads import start_thread

SYNC_SECS = 60.0
"""Seconds between two uploads of the journal, and after a failure until the next try."""

WARN_SECS = 600.0

_TIMED_BYTES = 1_000_000
_LOOK_SECS = 1.0
"""How often a wait looks whether the thread has ended."""

_ENDED = "the thread that uploads has ended"

PATIENCE_SECS = 10.0
"""Seconds that `close` waits for an upload in progress."""


class Uploader:
    """Uploads the checkpoints of a run, newest first, and applies the keep policy on the store.

    It keeps no queue. Each time it looks at what the directory has and the store has not, so a save
    that another one has replaced is never sent.

    Args:
        layout: the run.
        commits: the commits on the store.
        small_files: the small files of the run.
        claim: the claim of this process on the store.
        journal: the journal of the attempt.
        policy: decides which checkpoints stay on the store.
        unsent: checkpoints that readers of the store would not see, which are not uploaded.

    Attributes:
        lost: the error that ended all uploads, because another process has the run.
    """

    def __init__(
        self,
        layout: RunLayout,
        commits: StoredCommits,
        small_files: SmallFiles,
        claim: StoreClaimHolder,
        journal: Journal,
        policy: KeepPolicy,
        unsent: frozenset[CheckpointName],
    ) -> None:
        self._layout, self._commits, self._small_files = layout, commits, small_files
        self._journal_sent = -SYNC_SECS
        self._claim, self._journal, self._policy = claim, journal, policy
        self._unsent, self._skipped = unsent, set(unsent)
        self._damage: dict[CheckpointName, CorruptCheckpointError] = {}
        self._state = threading.Condition()
        self._asked = self._done = 0
        self._failure: CheckpointError | None = None
        self._warned_at: float | None = None
        self._current: Checkpoint | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: RunLockedError | None = None
        self.speeds: deque[float] = deque(maxlen=5)

    # -- for the session

    def start(self) -> None:
        """Start the thread for uploads.

        Raises:
            ThreadRefusedError: If the system allows no further thread.
        """
        self._thread = start_thread(self._run, "ckptkit-mirror")

    def notify(self) -> None:
        """Note that the directory has changed; call it on any thread."""
        with self._state:
            self._asked += 1
            self._state.notify_all()

    def wait(self, timeout_secs: float | None = None) -> None:
        """Wait until the store has the newest checkpoint that the directory has now.

        Raises:
            BackgroundSaveError: If the upload fails, the store cannot get it, or the time is over.
            RunLockedError: If another process has taken the run on the store.
        """
        end = None if timeout_secs is None else time.monotonic() + timeout_secs
        newest = list_names(self._layout)[-1:]
        with self._state:
            self._failure = None
            self._asked += 1
            wanted = self._asked
            self._state.notify_all()

            def is_over() -> bool:
                return self._done >= wanted or self.lost is not None or self._failure is not None

            while not (finished := is_over()) and self.is_working:
                left = _LOOK_SECS if end is None else min(end - time.monotonic(), _LOOK_SECS)
                if left <= 0:
                    break
                self._state.wait_for(is_over, left)
            lost, failure = self.lost, self._failure
        if lost is not None:
            raise lost
        reason: object = failure
        if not finished and failure is None:
            reason = f"it was not finished within {timeout_secs:g} s" if self.is_working else _ENDED
        elif failure is None and newest:
            reason = self._why_missing(newest[0])
        if reason is not None:
            raise BackgroundSaveError(
                "The newest checkpoint is in the run directory, but not on the object store: "
                f"{reason}",
                failure,
            ) from failure

    def _why_missing(self, name: CheckpointName) -> object:
        """Return why the store does not have a checkpoint, or None if it has."""
        if self._commits.find(name) is not None or name not in list_names(self._layout):
            return None
        if name in self._unsent:
            return (
                f"{name} was saved before another machine opened the run without it. The next save "
                "is uploaded"
            )
        return self._damage.get(name, f"{name} is being removed from the run directory")

    def missing_name(self) -> CheckpointName | None:
        """Return the newest checkpoint of the directory if the store does not have it."""
        newest = list_names(self._layout)[-1:]
        return newest[0] if newest and self._commits.find(newest[0]) is None else None

    @property
    def is_working(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def close(self, patience_secs: float = PATIENCE_SECS) -> None:
        """End the thread.

        An upload in progress is awaited for some seconds. If it continues after that, it ends with
        the process, or commits a checkpoint that is whole.

        Args:
            patience_secs: how long it is awaited.
        """
        with self._state:
            self._over.set()
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(patience_secs)

    # -- on the thread

    def _run(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(partial(self._has_changed, self._done), SYNC_SECS)
                if self._over.is_set():
                    return
                asked = self._asked
            problem = self._try_to_work()
            with self._state:
                if self.lost is not None:
                    self._state.notify_all()
                    return
                if problem is None:
                    self._done = asked
                self._failure = problem
                self._state.notify_all()
                if problem is not None:
                    # A new checkpoint or a wait is a reason to try again at once.
                    self._state.wait_for(partial(self._has_changed, asked), SYNC_SECS)

    def _has_changed(self, since: int) -> bool:
        return self._over.is_set() or self._asked > since

    def _try_to_work(self) -> CheckpointError | None:
        try:
            self.work()
        except RunLockedError as error:
            self._lose(error)
            return error
        except CheckpointError as error:
            return self._failed(error)
        except Exception as error:
            # Whatever it is: the end of this thread would leave everybody waiting.
            return self._failed(CheckpointError(f"{type(error).__name__}: {error}"))
        self._warned_at = None
        return None

    def _failed(self, problem: CheckpointError) -> CheckpointError:
        try:
            self._report(problem)
        except RunLockedError as error:
            self._lose(error)
        except Exception as error:
            logger.debug("the failed upload could not be recorded: %s", error)
        return problem

    def _lose(self, error: RunLockedError) -> None:
        logger.error("%s", error)
        self.lost = error

    def _report(self, error: CheckpointError) -> None:
        now = time.monotonic()
        if self._warned_at is None or now - self._warned_at >= WARN_SECS:
            self._warned_at = now
            logger.warning(
                "NOT UPLOADED, and training continues. The checkpoints in the run directory are "
                "safe, and the upload is tried again: %s",
                error,
            )
            missing = self._missing()
            name = str(missing[0].name) if missing else ""
            self._journal.record(events.UploadFailed(checkpoint=name, message=str(error)))

    # -- one round of work

    def work(self) -> None:
        """Upload what is missing, delete what the policy gives up, and upload small files.

        Raises:
            RunLockedError: If another process has taken the run on the store.
            StorageError: If the store does not answer, or the disk cannot be read.
        """
        with self._claim.asks_if_missing():
            self._work()

    def _work(self) -> None:
        if self._failure is not None:
            # If a checkpoint cannot be uploaded again and again, at least the journal travels.
            self._small_files.upload()
        passed: set[CheckpointName] = set()
        while missing := [each for each in self._missing() if each.name not in passed]:
            # One after the other, with its removals: saves may be faster than uploads.
            passed.add(missing[0].name)
            self._upload(missing[0])
            self._remove()
            self._small_files.upload(own_journal=self._is_journal_due())
            if self._over.is_set():
                return
        self._remove()
        self._small_files.upload(own_journal=self._is_journal_due())

    def _is_journal_due(self) -> bool:
        """Return whether the journal is uploaded now: about once a minute, because it is large."""
        now = time.monotonic()
        if now - self._journal_sent < SYNC_SECS / 2:
            return False
        self._journal_sent = now
        return True

    def _remove(self) -> None:
        for name, reason in to_remove(self._policy, self._stored(), self._protected()).items():
            parsed = CheckpointName.parse(name)
            assert parsed is not None
            self._commits.remove(parsed)
            logger.debug("removed %s from the object store: %s", name, reason)

    def unsent_bytes(self) -> int:
        """Return how much is sent before the store has the newest checkpoint, in bytes.

        That includes an upload in progress, which is finished first.

        Raises:
            CheckpointError: If the directory cannot be read.
        """
        missing = self._missing()
        if not missing:
            return 0
        current = self._current
        waits = current is not None and current.name != missing[0].name
        return missing[0].head.size_bytes + (current.head.size_bytes if current and waits else 0)

    def _missing(self) -> list[Checkpoint]:
        """Return the checkpoints to upload, newest first."""
        local: dict[str, Checkpoint] = {}
        candidates: list[Candidate] = []
        outdated = []
        for checkpoint in list_checkpoints(self._layout):
            if checkpoint.name in self._skipped or checkpoint.problem is not None:
                continue
            local[str(checkpoint.name)] = checkpoint
            candidates.append(checkpoint.candidate)
            if self._is_outdated(checkpoint):
                outdated.append(str(checkpoint.name))
        names = to_upload(self._policy, candidates, self._stored(), outdated, self._protected())
        return [local[name] for name in names]

    def _is_outdated(self, checkpoint: Checkpoint) -> bool:
        commit = self._commits.find(checkpoint.name)
        if commit is None or commit.manifest.saved_at == checkpoint.head.saved_at:
            return False
        return differs(checkpoint.path, commit)

    def _stored(self) -> list[Candidate]:
        return [candidate_of(each.manifest) for each in self._commits.commits]

    def _protected(self) -> dict[str, str]:
        return {str(name): "pinned" for name in pinned(self._layout)}

    def _upload(self, checkpoint: Checkpoint) -> None:
        began = time.monotonic()
        with held(self._layout, checkpoint.name):
            # Retention looks for readers after it has left its mark; see `reader_leases.py`.
            if is_leaving(self._layout, checkpoint.name) or not checkpoint.path.is_dir():
                return
            self._current = checkpoint
            try:
                commit, sent = self._commits.upload(checkpoint.path)
            except CorruptCheckpointError as error:
                # The files of the directory are damaged; the next checkpoint is another one.
                self._skipped.add(checkpoint.name)
                self._damage[checkpoint.name] = error
                raise
            finally:
                self._current = None
        secs = time.monotonic() - began
        if sent >= _TIMED_BYTES:  # smaller ones are all latency
            self.speeds.append(sent / max(secs, 1e-6))
        self._journal.record(
            events.Mirrored(
                checkpoint=str(checkpoint.name),
                step=checkpoint.step,
                size_bytes=commit.manifest.size_bytes,
                sent_bytes=sent,
                secs=secs,
            )
        )
        logger.debug("uploaded %s (%s in %.1f s)", checkpoint.name, size(sent), secs)
